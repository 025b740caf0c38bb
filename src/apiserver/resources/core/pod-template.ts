import type { k8s } from "../../../api/index.ts";
import type { FieldError } from "../../machinery/kind.ts";
import { forbidden } from "../shared/field-errors.ts";
import { validateAnnotations, validateLabels } from "../shared/object-meta.ts";
import { validatePodAnnotations } from "./pod-validation/annotations.ts";
import { validatePodSpec } from "./pod-validation/spec.ts";

/** Upstream's ValidatePodTemplateSpec. `claimTemplates` are volumes that the template need not list: a StatefulSet's. */
export function validatePodTemplate(
  template: k8s.PodTemplateSpec,
  at: string,
  claimTemplates: readonly string[] = [],
): FieldError[] {
  const { labels, annotations } = template.metadata ?? {};
  return [
    ...validateLabels(labels, `${at}.labels`),
    ...validateAnnotations(annotations, `${at}.annotations`),
    ...validatePodAnnotations(annotations, template.spec, `${at}.annotations`),
    ...validatePodSpec(template.spec, `${at}.spec`, { claimTemplates }),
    ...((template.spec?.ephemeralContainers ?? []).length > 0
      ? [forbidden(`${at}.spec.ephemeralContainers`, "ephemeral containers not allowed in pod template")]
      : []),
  ];
}
