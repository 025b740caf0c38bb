import type { Random } from "../../base/index.ts";
import type { ClusterState } from "../cluster-state.ts";
import type { Admission } from "../machinery/pipeline.ts";
import { limitRanger } from "./limit-ranger.ts";
import { namespaceLifecycle } from "./namespace-lifecycle.ts";
import { nodeRestriction } from "./node-restriction.ts";
import {
  defaultClasses,
  newNodeTaint,
  priority,
  runtimeClass,
  storageProtection,
  tolerationSeconds,
} from "./pod-defaults.ts";
import { podSecurity } from "./pod-security.ts";
import { resourceQuota } from "./resource-quota.ts";
import { serviceAccount } from "./service-account.ts";
import { serviceAllocator } from "./service-allocator.ts";
import type { ServiceRange } from "./service-allocator.ts";

export { addressAt } from "./service-allocator.ts";
export type { ServiceRange } from "./service-allocator.ts";

/** Upstream's default plugins in upstream's order; quota is last, so that only what passed everything else is counted. */
export function createAdmission(options: { state: ClusterState; random: Random; services: ServiceRange }): Admission[] {
  const { state, random, services } = options;
  return [
    namespaceLifecycle(state),
    limitRanger(state),
    serviceAccount(state, random),
    nodeRestriction(state),
    newNodeTaint,
    podSecurity(state),
    priority(state),
    tolerationSeconds,
    defaultClasses(state),
    storageProtection,
    runtimeClass(state),
    serviceAllocator(state, random, services),
    resourceQuota(state),
  ];
}
