import type { k8s } from "../../../api/index.ts";
import type { ScalePaths } from "../../machinery/kind.ts";
import { containerImages, containerNames, formatSelector, text, wide } from "../shared/columns.ts";
import { invalid, required } from "../shared/field-errors.ts";
import type { FieldError } from "../../machinery/kind.ts";
import { selects, validateLabelSelector } from "../shared/object-meta.ts";
import type { Selector } from "../shared/object-meta.ts";
import { validatePodTemplate } from "../core/pod-template.ts";

export const workloadScale: ScalePaths = {
  specReplicas: "spec.replicas",
  statusReplicas: "status.replicas",
  selector: "status.selector",
};

interface Workload {
  spec?: { template?: k8s.PodTemplateSpec; selector?: Selector };
}

/** The `-o wide` columns that workloads end with. */
export const workloadWideColumns = [
  wide(text<Workload>("Containers", ({ spec }) => containerNames(spec?.template))),
  wide(text<Workload>("Images", ({ spec }) => containerImages(spec?.template))),
  wide(text<Workload>("Selector", ({ spec }) => formatSelector(spec?.selector))),
];

/** Selector and template of a workload whose Pods restart always. `claims`: see validatePodTemplate. */
export function validateWorkload(spec: Workload["spec"], kind: string, claims: readonly string[] = []): FieldError[] {
  const errors = validateLabelSelector(spec?.selector, "spec.selector");
  if (spec?.selector === undefined) errors.push(required("spec.selector"));
  else if (Object.keys(spec.selector.matchLabels ?? {}).length + (spec.selector.matchExpressions?.length ?? 0) === 0)
    errors.push(invalid("spec.selector", spec.selector, `empty selector is invalid for ${kind}`));
  const template = spec?.template;
  if (template === undefined) return [...errors, required("spec.template")];
  if (spec?.selector !== undefined && !selects(spec.selector, template.metadata?.labels))
    errors.push(
      invalid(
        "spec.template.metadata.labels",
        template.metadata?.labels ?? {},
        "`selector` does not match template `labels`",
      ),
    );
  errors.push(...validatePodTemplate(template, "spec.template", claims));
  const policy = template.spec?.restartPolicy;
  if (policy !== undefined && policy !== "Always")
    errors.push({
      type: "FieldValueNotSupported",
      field: "spec.template.spec.restartPolicy",
      detail: `Unsupported value: ${JSON.stringify(policy)}: supported values: "Always"`,
    });
  if (template.spec?.activeDeadlineSeconds !== undefined)
    errors.push({
      type: "FieldValueForbidden",
      field: "spec.template.spec.activeDeadlineSeconds",
      detail: `Forbidden: activeDeadlineSeconds in ${kind} is not Supported`,
    });
  return errors;
}
