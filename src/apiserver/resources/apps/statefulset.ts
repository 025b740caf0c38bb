import type { k8s } from "../../../api/index.ts";
import type { FieldError } from "../../machinery/kind.ts";
import { defaultPodTemplate } from "../core/pod-defaults.ts";
import { ageColumn, nameColumn, text } from "../shared/columns.ts";
import { deepEqual, forbidden, nonNegative, oneOf } from "../shared/field-errors.ts";
import type { Peculiarities } from "../shared/peculiarities.ts";
import { validateWorkload, workloadScale, workloadWideColumns } from "./workload.ts";

type StatefulSet = k8s.StatefulSet;

const validateSpec = (spec: k8s.StatefulSetSpec | undefined): FieldError[] => [
  ...oneOf("spec.podManagementPolicy", spec?.podManagementPolicy, ["OrderedReady", "Parallel"]),
  ...oneOf("spec.updateStrategy.type", spec?.updateStrategy?.type, ["OnDelete", "RollingUpdate"]),
  ...nonNegative("spec.replicas", spec?.replicas),
  ...nonNegative("spec.minReadySeconds", spec?.minReadySeconds),
  ...validateWorkload(
    spec,
    "statefulset",
    spec?.volumeClaimTemplates?.map(({ metadata }) => metadata.name ?? ""),
  ),
];

export const statefulSet: Peculiarities = {
  shortNames: ["sts"],
  categories: ["all"],
  scale: { ...workloadScale, selector: "spec.selector" },
  hasGeneration: true,
  defaultPropagation: "Background",
  fillDefaults(object) {
    const spec = ((object as StatefulSet).spec ??= {} as k8s.StatefulSetSpec);
    spec.podManagementPolicy ??= "OrderedReady";
    spec.updateStrategy ??= {};
    spec.updateStrategy.type ??= "RollingUpdate";
    if (spec.updateStrategy.type === "RollingUpdate") (spec.updateStrategy.rollingUpdate ??= {}).partition ??= 0;
    spec.persistentVolumeClaimRetentionPolicy ??= {};
    spec.persistentVolumeClaimRetentionPolicy.whenDeleted ??= "Retain";
    spec.persistentVolumeClaimRetentionPolicy.whenScaled ??= "Retain";
    spec.replicas ??= 1;
    spec.revisionHistoryLimit ??= 10;
    defaultPodTemplate(spec.template);
    for (const claim of spec.volumeClaimTemplates ?? []) {
      (claim as { apiVersion?: string }).apiVersion ??= "v1";
      (claim as { kind?: string }).kind ??= "PersistentVolumeClaim";
      if (claim.spec !== undefined) claim.spec.volumeMode ??= "Filesystem";
      claim.status ??= { phase: "Pending" };
    }
  },
  prepareForCreate(object) {
    object["status"] = { replicas: 0, availableReplicas: 0 };
  },
  validate: (object) => validateSpec((object as StatefulSet).spec),
  validateUpdate: (object, old) => [
    ...validateSpec((object as StatefulSet).spec),
    ...validateKept((object as StatefulSet).spec, (old as StatefulSet).spec),
  ],
  columns: [
    nameColumn,
    text<StatefulSet>("Ready", ({ spec, status }) => `${status?.readyReplicas ?? 0}/${spec?.replicas ?? 0}`),
    ageColumn,
    ...workloadWideColumns.slice(0, 2),
  ],
};

function validateKept(now: k8s.StatefulSetSpec | undefined, old: k8s.StatefulSetSpec | undefined): FieldError[] {
  const fixed = (spec: k8s.StatefulSetSpec | undefined) => ({
    podManagementPolicy: spec?.podManagementPolicy,
    selector: spec?.selector,
    serviceName: spec?.serviceName || undefined,
    volumeClaimTemplates: spec?.volumeClaimTemplates,
  });
  if (deepEqual(fixed(now), fixed(old))) return [];
  return [
    forbidden(
      "spec",
      "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
    ),
  ];
}
