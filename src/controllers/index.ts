import { admissionPolicyStatusController } from "./admission-policy/index.ts";
import { attachDetachController } from "./attach-detach/index.ts";
import { tokenCleaner } from "./bootstrap/index.ts";
import {
  certificateApprovingController,
  certificateCleaner,
  certificateSigningController,
} from "./certificates/index.ts";
import { clusterRoleAggregationController } from "./cluster-role-aggregation/index.ts";
import type { Controller } from "./controller.ts";
import { cronJobController } from "./cronjob/index.ts";
import { daemonSetController } from "./daemonset/index.ts";
import { deploymentController } from "./deployment/index.ts";
import { disruptionController } from "./disruption/index.ts";
import { endpointsController, endpointSliceController, endpointSliceMirroringController } from "./endpoints/index.ts";
import { garbageCollector } from "./garbage-collector/index.ts";
import { jobController } from "./job/index.ts";
import { loadBalancerController } from "./load-balancer/index.ts";
import { namespaceController } from "./namespace/index.ts";
import { nodeIpamController } from "./node-ipam/index.ts";
import { nodeLifecycleController, taintEvictionController } from "./node-lifecycle/index.ts";
import { podGarbageCollector } from "./pod-gc/index.ts";
import { resourceQuotaController } from "./quota/index.ts";
import { resourceClaimController } from "./resource-claim/index.ts";
import { replicaSetController, replicationController } from "./replicaset/index.ts";
import { serviceCidrController } from "./service-cidr/index.ts";
import { rootCaPublisher, serviceAccountController, serviceAccountTokensController } from "./serviceaccount/index.ts";
import { statefulSetController } from "./statefulset/index.ts";
import { ttlAfterFinishedController } from "./ttl/index.ts";
import {
  claimProtectionController,
  ephemeralVolumeController,
  persistentVolumeController,
  volumeProtectionController,
} from "./volume/index.ts";

export type * from "./controller.ts";
export { runControllers, type ControllerManager, type ControllerManagerOptions } from "./manager.ts";

/** Everything that a cluster runs. */
export const allControllers: readonly Controller[] = [
  serviceAccountController,
  serviceAccountTokensController,
  rootCaPublisher,
  namespaceController,
  garbageCollector,
  endpointsController,
  endpointSliceController,
  endpointSliceMirroringController,
  deploymentController,
  replicaSetController,
  replicationController,
  statefulSetController,
  daemonSetController,
  jobController,
  cronJobController,
  nodeIpamController,
  nodeLifecycleController,
  taintEvictionController,
  podGarbageCollector,
  ttlAfterFinishedController,
  resourceQuotaController,
  disruptionController,
  persistentVolumeController,
  claimProtectionController,
  volumeProtectionController,
  ephemeralVolumeController,
  attachDetachController,
  certificateApprovingController,
  certificateSigningController,
  certificateCleaner,
  clusterRoleAggregationController,
  loadBalancerController,
  serviceCidrController,
  tokenCleaner,
  admissionPolicyStatusController,
  resourceClaimController,
];
