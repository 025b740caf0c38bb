import type { Clock, Logger, Random } from "../../base/index.ts";
import type { ClusterState } from "../cluster-state.ts";
import type { Admission, Authorizer } from "../machinery/pipeline.ts";
import type { RbacAuthorizer } from "../authz/index.ts";
import { certificates } from "./certificates.ts";
import { claimResize } from "./claim-resize.ts";
import { escalationPrevention } from "./escalation.ts";
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

import { validatingPolicies } from "./validating-policies.ts";
import type { FindKind } from "./validating-policies.ts";
import { webhooks } from "./webhooks.ts";

export { addressAt } from "./service-allocator.ts";
export type { ServiceRange } from "./service-allocator.ts";

interface AdmissionOptions {
  readonly state: ClusterState;
  readonly random: Random;
  readonly clock: Clock;
  readonly log: Logger;
  readonly services: ServiceRange;
  readonly rbac: RbacAuthorizer;
  readonly findKind: FindKind;
  readonly authorizers: readonly Authorizer[];
}

/** Upstream's default plugins in upstream's order; quota is last, so that only what passed everything else is counted. */
export function createAdmission(options: AdmissionOptions): Admission[] {
  const { state, random, log, services } = options;
  const hooks = webhooks(state, random, log);
  return [
    namespaceLifecycle(state),
    limitRanger(state),
    serviceAccount(state, random, options.clock),
    nodeRestriction(state),
    newNodeTaint,
    podSecurity(state),
    priority(state),
    tolerationSeconds,
    defaultClasses(state),
    storageProtection,
    claimResize(state),
    runtimeClass(state),
    certificates(options.authorizers),
    escalationPrevention(state, options.rbac, options.authorizers),
    hooks.mutating,
    serviceAllocator(state, random, services),
    validatingPolicies(state, options.findKind),
    hooks.validating,
    resourceQuota(state),
  ];
}
