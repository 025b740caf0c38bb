import type { k8s } from "../../../api/index.ts";
import { defaultPodTemplate } from "../core/pod-defaults.ts";
import { ageColumn, formatLabels, integer, nameColumn, text } from "../shared/columns.ts";
import { immutable, nonNegative, oneOf } from "../shared/field-errors.ts";
import type { Peculiarities } from "../shared/peculiarities.ts";
import { validateWorkload, workloadWideColumns } from "./workload.ts";

type DaemonSet = k8s.DaemonSet;

const validateSpec = (spec: k8s.DaemonSetSpec | undefined) => [
  ...validateWorkload(spec, "daemonset"),
  ...nonNegative("spec.minReadySeconds", spec?.minReadySeconds),
  ...oneOf("spec.updateStrategy.type", spec?.updateStrategy?.type, ["OnDelete", "RollingUpdate"]),
  ...nonNegative("spec.revisionHistoryLimit", spec?.revisionHistoryLimit),
];

export const daemonSet: Peculiarities = {
  shortNames: ["ds"],
  categories: ["all"],
  hasGeneration: true,
  defaultPropagation: "Background",
  fillDefaults(object) {
    const spec = ((object as DaemonSet).spec ??= {} as k8s.DaemonSetSpec);
    spec.updateStrategy ??= {};
    spec.updateStrategy.type ??= "RollingUpdate";
    if (spec.updateStrategy.type === "RollingUpdate") {
      spec.updateStrategy.rollingUpdate ??= {};
      spec.updateStrategy.rollingUpdate.maxUnavailable ??= 1;
      spec.updateStrategy.rollingUpdate.maxSurge ??= 0;
    }
    spec.revisionHistoryLimit ??= 10;
    defaultPodTemplate(spec.template);
  },
  prepareForCreate(object) {
    object["status"] = { currentNumberScheduled: 0, numberMisscheduled: 0, desiredNumberScheduled: 0, numberReady: 0 };
    (object.metadata.annotations ??= {})["deprecated.daemonset.template.generation"] ??= "1";
  },
  prepareForUpdate(object, old, context) {
    if (context.subresource !== "") return;
    const before = Number(old.metadata.annotations?.["deprecated.daemonset.template.generation"] ?? 1);
    const changed =
      JSON.stringify((object as DaemonSet).spec?.template) !== JSON.stringify((old as DaemonSet).spec?.template);
    (object.metadata.annotations ??= {})["deprecated.daemonset.template.generation"] = String(
      before + (changed ? 1 : 0),
    );
  },
  validate: (object) => validateSpec((object as DaemonSet).spec),
  validateUpdate: (object, old) => [
    ...validateSpec((object as DaemonSet).spec),
    ...immutable("spec.selector", (object as DaemonSet).spec?.selector, (old as DaemonSet).spec?.selector),
  ],
  columns: [
    nameColumn,
    integer<DaemonSet>("Desired", ({ status }) => status?.desiredNumberScheduled ?? 0),
    integer<DaemonSet>("Current", ({ status }) => status?.currentNumberScheduled ?? 0),
    integer<DaemonSet>("Ready", ({ status }) => status?.numberReady ?? 0),
    integer<DaemonSet>("Up-to-date", ({ status }) => status?.updatedNumberScheduled ?? 0),
    integer<DaemonSet>("Available", ({ status }) => status?.numberAvailable ?? 0),
    text<DaemonSet>("Node Selector", ({ spec }) => formatLabels(spec?.template.spec?.nodeSelector)),
    ageColumn,
    ...workloadWideColumns,
  ],
};
