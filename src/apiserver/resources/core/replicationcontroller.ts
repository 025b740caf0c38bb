import type { k8s } from "../../../api/index.ts";
import {
  ageColumn,
  containerImages,
  containerNames,
  formatLabels,
  integer,
  nameColumn,
  text,
  wide,
} from "../shared/columns.ts";
import { invalid, nonNegative, required } from "../shared/field-errors.ts";
import { selects } from "../shared/object-meta.ts";
import type { Peculiarities } from "../shared/peculiarities.ts";
import { defaultPodTemplate } from "./pod-defaults.ts";
import { validatePodTemplate } from "./pod-template.ts";

type Controller = k8s.ReplicationController;

export const replicationController: Peculiarities = {
  shortNames: ["rc"],
  categories: ["all"],
  scale: { specReplicas: "spec.replicas", statusReplicas: "status.replicas", selector: "spec.selector" },
  hasGeneration: true,
  defaultPropagation: "Orphan",
  fillDefaults(object) {
    const it = object as Controller;
    it.spec ??= {};
    it.spec.replicas ??= 1;
    const labels = it.spec.template?.metadata?.labels;
    if (labels !== undefined) {
      it.spec.selector ??= { ...labels };
      it.metadata.labels ??= { ...labels };
    }
    defaultPodTemplate(it.spec.template);
  },
  prepareForCreate(object) {
    object["status"] = { replicas: 0 };
  },
  validate(object) {
    const spec = (object as Controller).spec;
    const errors = nonNegative("spec.replicas", spec?.replicas);
    if (Object.keys(spec?.selector ?? {}).length === 0) errors.push(required("spec.selector"));
    if (spec?.template === undefined) return [...errors, required("spec.template")];
    const labels = spec.template.metadata?.labels ?? {};
    if (spec.selector !== undefined && !selects({ matchLabels: spec.selector }, labels))
      errors.push(invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`"));
    return [...errors, ...validatePodTemplate(spec.template, "spec.template")];
  },
  selectableFields: { "status.replicas": (object) => String((object as Controller).status?.replicas ?? 0) },
  columns: [
    nameColumn,
    integer<Controller>("Desired", ({ spec }) => spec?.replicas ?? 0),
    integer<Controller>("Current", ({ status }) => status?.replicas ?? 0),
    integer<Controller>("Ready", ({ status }) => status?.readyReplicas ?? 0),
    ageColumn,
    wide(text<Controller>("Containers", ({ spec }) => containerNames(spec?.template))),
    wide(text<Controller>("Images", ({ spec }) => containerImages(spec?.template))),
    wide(text<Controller>("Selector", ({ spec }) => formatLabels(spec?.selector))),
  ],
};
