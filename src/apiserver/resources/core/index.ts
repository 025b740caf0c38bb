import type { k8s } from "../../../api/index.ts";
import {
  ageColumn,
  containerImages,
  containerNames,
  formatLabels,
  integer,
  nameColumn,
  text,
} from "../shared/columns.ts";
import type { GroupKinds } from "../shared/peculiarities.ts";
import { configMap } from "./configmap.ts";
import { endpoints } from "./endpoints.ts";
import { event } from "./event.ts";
import { limitRange } from "./limitrange.ts";
import { namespace } from "./namespace.ts";
import { node } from "./node.ts";
import { defaultPodTemplate } from "./pod-defaults.ts";
import { pod } from "./pod.ts";
import { replicationController } from "./replicationcontroller.ts";
import { resourceQuota } from "./resourcequota.ts";
import { secret } from "./secret.ts";
import { service } from "./service.ts";
import { persistentVolume, persistentVolumeClaim } from "./volumes.ts";

export const coreKinds: GroupKinds = {
  configmaps: configMap,
  endpoints,
  events: event,
  limitranges: limitRange,
  namespaces: namespace,
  nodes: node,
  persistentvolumeclaims: persistentVolumeClaim,
  persistentvolumes: persistentVolume,
  pods: pod,
  podtemplates: {
    fillDefaults: (object) => defaultPodTemplate((object as k8s.PodTemplate).template),
    columns: [
      nameColumn,
      text<k8s.PodTemplate>("Containers", ({ template }) => containerNames(template)),
      text<k8s.PodTemplate>("Images", ({ template }) => containerImages(template)),
      text<k8s.PodTemplate>("Pod Labels", ({ template }) => formatLabels(template?.metadata?.labels)),
    ],
  },
  replicationcontrollers: replicationController,
  resourcequotas: resourceQuota,
  secrets: secret,
  serviceaccounts: {
    shortNames: ["sa"],
    returnDeletedObject: true,
    columns: [nameColumn, integer<k8s.ServiceAccount>("Secrets", ({ secrets }) => secrets?.length ?? 0), ageColumn],
  },
  services: service,
};
