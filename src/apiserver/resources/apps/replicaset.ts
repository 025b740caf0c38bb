import type { k8s } from "../../../api/index.ts";
import { defaultPodTemplate } from "../core/pod-defaults.ts";
import { ageColumn, integer, nameColumn } from "../shared/columns.ts";
import { immutable, nonNegative } from "../shared/field-errors.ts";
import type { Peculiarities } from "../shared/peculiarities.ts";
import { validateWorkload, workloadScale, workloadWideColumns } from "./workload.ts";

type ReplicaSet = k8s.ReplicaSet;

const validateSpec = (spec: k8s.ReplicaSetSpec | undefined) => [
  ...nonNegative("spec.replicas", spec?.replicas),
  ...nonNegative("spec.minReadySeconds", spec?.minReadySeconds),
  ...validateWorkload(spec, "deployment"),
];

export const replicaSet: Peculiarities = {
  shortNames: ["rs"],
  categories: ["all"],
  scale: { ...workloadScale, selector: "spec.selector" },
  hasGeneration: true,
  defaultPropagation: "Background",
  fillDefaults(object) {
    const spec = ((object as ReplicaSet).spec ??= {} as k8s.ReplicaSetSpec);
    spec.replicas ??= 1;
    defaultPodTemplate(spec.template);
  },
  prepareForCreate(object) {
    object["status"] = { replicas: 0 };
  },
  validate: (object) => validateSpec((object as ReplicaSet).spec),
  validateUpdate: (object, old) => [
    ...validateSpec((object as ReplicaSet).spec),
    ...immutable("spec.selector", (object as ReplicaSet).spec?.selector, (old as ReplicaSet).spec?.selector),
  ],
  selectableFields: { "status.replicas": (object) => String((object as ReplicaSet).status?.replicas ?? 0) },
  columns: [
    nameColumn,
    integer<ReplicaSet>("Desired", ({ spec }) => spec?.replicas ?? 0),
    integer<ReplicaSet>("Current", ({ status }) => status?.replicas ?? 0),
    integer<ReplicaSet>("Ready", ({ status }) => status?.readyReplicas ?? 0),
    ageColumn,
    ...workloadWideColumns,
  ],
};
