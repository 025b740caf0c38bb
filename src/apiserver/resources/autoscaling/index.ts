import type { k8s, KubeObject } from "../../../api/index.ts";
import { ageColumn, integer, nameColumn, text } from "../shared/columns.ts";
import type { GroupKinds, Peculiarities } from "../shared/peculiarities.ts";
import { defaultMetric, hpaFromV1, hpaToV1 } from "./conversion.ts";
import { formatTargets } from "./metrics.ts";
import { validateAutoscaler } from "./validation.ts";

type Hpa = k8s.HorizontalPodAutoscaler;

const common: Peculiarities = {
  shortNames: ["hpa"],
  categories: ["all"],
  validate: validateAutoscaler,
  prepareForCreate(object) {
    object["status"] = { desiredReplicas: 0, currentReplicas: 0 };
  },
};

const columns = [
  nameColumn,
  text<Hpa>("Reference", ({ spec }) => `${spec?.scaleTargetRef.kind}/${spec?.scaleTargetRef.name}`),
  text<Hpa>("Targets", formatTargets),
  text<Hpa>("MinPods", ({ spec }) => String(spec?.minReplicas ?? "<unset>")),
  integer<Hpa>("MaxPods", ({ spec }) => spec?.maxReplicas ?? 0),
  integer<Hpa>("Replicas", ({ status }) => status?.currentReplicas ?? 0),
  ageColumn,
];

/** v1 knows CPU only; objects are stored as v2. */
export const autoscalingV1Kinds: GroupKinds = {
  horizontalpodautoscalers: {
    ...common,
    conversion: {
      toStorage: (objects) => objects.map(hpaFromV1),
      fromStorage: (objects) => objects.map(hpaToV1),
    },
    fillDefaults(object) {
      ((object as unknown as k8s.HorizontalPodAutoscalerV1).spec ??=
        {} as k8s.HorizontalPodAutoscalerSpecV1).minReplicas ??= 1;
    },
    columns: columns.map((column) => ({
      ...column,
      cell: (object: KubeObject, nowMs: number) => column.cell(hpaFromV1(object), nowMs),
    })),
  },
};

export const autoscalingV2Kinds: GroupKinds = {
  horizontalpodautoscalers: {
    ...common,
    fillDefaults(object) {
      const spec = ((object as Hpa).spec ??= {} as k8s.HorizontalPodAutoscalerSpec);
      spec.minReplicas ??= 1;
      if (!spec.metrics?.length) spec.metrics = [defaultMetric()];
    },
    columns,
  },
};
