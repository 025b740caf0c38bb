import { invalidArgument } from "../../base/index.ts";
import type { Clock, Logger, Random } from "../../base/index.ts";
import type { ClusterState } from "../cluster-state.ts";
import type { Admission, Authorizer } from "../machinery/pipeline.ts";
import type { RbacAuthorizer } from "../authz/index.ts";
import { adminAccess } from "./admin-access.ts";
import { certificateApproval, certificateSigning, certificateSubjectRestriction } from "./certificates.ts";
import { claimResize } from "./claim-resize.ts";
import { escalationPrevention } from "./escalation.ts";
import { limitRanger } from "./limit-ranger.ts";
import { namespaceLifecycle } from "./namespace-lifecycle.ts";
import { nodeRestriction } from "./node-restriction.ts";
import {
  defaultIngressClass,
  defaultStorageClass,
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
import type { Kind } from "../machinery/kind.ts";
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
  /** Every kind that is served now. */
  readonly kinds: () => readonly Kind[];
  readonly authorizers: readonly Authorizer[];
  /** Upstream's --disable-admission-plugins. */
  readonly disabled?: readonly string[];
}

/** Upstream's names of the plugins, by which --disable-admission-plugins leaves them out. */
type Named = readonly [name: string, plugin: Admission];

/** Upstream's default plugins in upstream's order; quota is last, so that only what passed everything else is counted. */
export function createAdmission(options: AdmissionOptions): Admission[] {
  const plugins = pluginsOf(options);
  const disabled = new Set(options.disabled);
  const names = plugins.map(([name]) => name).filter((name) => name !== "");
  const unknown = [...disabled].find((name) => !names.includes(name));
  if (unknown !== undefined)
    throw invalidArgument(`admission-control plugin ${JSON.stringify(unknown)} is unknown`, {
      hint: `these can be disabled: ${names.join(", ")}`,
    });
  return plugins.filter(([name]) => !disabled.has(name)).map(([, plugin]) => plugin);
}

/** Without a name: what upstream does outside of its plugins, and cannot be disabled. */
function pluginsOf(options: AdmissionOptions): Named[] {
  const { state, random, services } = options;
  const hooks = webhooks(options);
  return [
    ["NamespaceLifecycle", namespaceLifecycle(state)],
    ["LimitRanger", limitRanger(state)],
    ["ServiceAccount", serviceAccount(state, random, options.clock)],
    ["NodeRestriction", nodeRestriction(state)],
    ["TaintNodesByCondition", newNodeTaint],
    ["PodSecurity", podSecurity(state)],
    ["Priority", priority(state)],
    ["DefaultTolerationSeconds", tolerationSeconds],
    ["DefaultStorageClass", defaultStorageClass(state)],
    ["StorageObjectInUseProtection", storageProtection],
    ["PersistentVolumeClaimResize", claimResize(state)],
    ["RuntimeClass", runtimeClass(state)],
    ["CertificateApproval", certificateApproval(options.authorizers)],
    ["CertificateSigning", certificateSigning(options.authorizers)],
    ["CertificateSubjectRestriction", certificateSubjectRestriction],
    ["DefaultIngressClass", defaultIngressClass(state)],
    ["", escalationPrevention(state, options.rbac, options.authorizers)],
    ["MutatingAdmissionWebhook", hooks.mutating],
    ["", adminAccess(state)],
    ["", serviceAllocator(state, random, services)],
    ["ValidatingAdmissionPolicy", validatingPolicies(options)],
    ["ValidatingAdmissionWebhook", hooks.validating],
    ["ResourceQuota", resourceQuota(state)],
  ];
}
