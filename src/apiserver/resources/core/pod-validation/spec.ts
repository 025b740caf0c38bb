import type { k8s } from "../../../../api/index.ts";
import type { FieldError } from "../../../machinery/kind.ts";
import { each, inRange, label, subdomain } from "../../shared/checks.ts";
import { forbidden, nonNegative, oneOf, required } from "../../shared/field-errors.ts";
import { validateLabels } from "../../shared/object-meta.ts";
import { validateAffinity } from "./affinity.ts";
import { validateRequirements } from "./compute.ts";
import {
  validateContainers,
  validateEphemeralContainers,
  validateHostNetworkPorts,
  validateImageSpace,
  validateInitContainers,
  type Surroundings,
} from "./containers.ts";
import { validateDnsConfig, validateHostAliases } from "./names.ts";
import { validatePodResources } from "./pod-resources.ts";
import {
  validatePodClaims,
  validateReadinessGates,
  validateSchedulingGates,
  validateSpread,
  validateTolerations,
} from "./scheduling.ts";
import { validatePodSecurity } from "./security.ts";
import { validateVolumes } from "./volumes.ts";
import { validateHostProcess, validateOs } from "./windows.ts";

export interface PodSpecOptions {
  /** Volumes that the spec need not list: a StatefulSet's claim templates. */
  readonly claimTemplates?: readonly string[];
  /** A Pod itself and not a template; its name, where it has one. */
  readonly pod?: { readonly name: string | undefined };
}

const maxDeadlineSeconds = 2_147_483_647;

/** Upstream's ValidatePodSpec, in its order and words. Field paths begin at `at`. */
export function validatePodSpec(
  spec: k8s.PodSpec | undefined,
  at: string,
  { claimTemplates = [], pod }: PodSpecOptions = {},
): FieldError[] {
  if (spec === undefined) return [required(`${at}.containers`)];
  const { good, errors } = validateVolumes(spec.volumes ?? [], `${at}.volumes`, pod?.name);
  const volumes: Map<string, k8s.Volume | undefined> = good;
  for (const name of claimTemplates) if (!volumes.has(name)) volumes.set(name, undefined);
  const around: Surroundings = {
    volumes,
    claims: new Set((spec.resourceClaims ?? []).map(({ name }) => name)),
    graceSeconds: spec.terminationGracePeriodSeconds ?? 30,
    podRestartPolicy: spec.restartPolicy,
    hostUsers: spec.hostUsers !== false,
  };
  return [
    ...errors,
    ...validatePodClaims(spec.resourceClaims, `${at}.resourceClaims`),
    ...validateContainers(spec, `${at}.containers`, around),
    ...validateInitContainers(spec, `${at}.initContainers`, around),
    ...validateEphemeralContainers(spec, `${at}.ephemeralContainers`, around),
    ...validateHostNetworkPorts(spec, `${at}.containers`, pod !== undefined),
    ...validatePodResources(spec, at),
    ...validatePolicies(spec, at),
    ...validatePlacement(spec, at),
    ...validateNames(spec, at),
    ...(pod === undefined ? [] : validatePodOnly(spec, at)),
  ];
}

function validatePolicies(spec: k8s.PodSpec, at: string): FieldError[] {
  return [
    ...oneOf(`${at}.restartPolicy`, spec.restartPolicy, ["Always", "OnFailure", "Never"]),
    ...oneOf(`${at}.dnsPolicy`, spec.dnsPolicy, ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"]),
    ...validateLabels(spec.nodeSelector, `${at}.nodeSelector`),
    ...validatePodSecurity(spec, `${at}.securityContext`),
  ];
}

function validatePlacement(spec: k8s.PodSpec, at: string): FieldError[] {
  return [
    ...validateAffinity(spec.affinity, `${at}.affinity`),
    ...validateDnsConfig(spec, `${at}.dnsConfig`),
    ...validateReadinessGates(spec.readinessGates, `${at}.readinessGates`),
    ...validateSchedulingGates(spec.schedulingGates, `${at}.schedulingGates`),
    ...validateSpread(spec.topologySpreadConstraints, `${at}.topologySpreadConstraints`),
    ...validateHostProcess(spec, at),
    ...validateHostUsers(spec, at),
  ];
}

function validateNames(spec: k8s.PodSpec, at: string): FieldError[] {
  const deadline = spec.activeDeadlineSeconds;
  return [
    ...subdomain(`${at}.serviceAccountName`, spec.serviceAccountName),
    ...subdomain(`${at}.nodeName`, spec.nodeName),
    ...nonNegative(`${at}.terminationGracePeriodSeconds`, spec.terminationGracePeriodSeconds),
    ...(deadline === undefined ? [] : inRange(`${at}.activeDeadlineSeconds`, deadline, 1, maxDeadlineSeconds)),
    ...label(`${at}.hostname`, spec.hostname),
    ...label(`${at}.subdomain`, spec.subdomain),
    ...validateTolerations(spec.tolerations, `${at}.tolerations`),
    ...validateHostAliases(spec.hostAliases, `${at}.hostAliases`),
    ...subdomain(`${at}.priorityClassName`, spec.priorityClassName),
    ...subdomain(`${at}.runtimeClassName`, spec.runtimeClassName),
    ...oneOf(`${at}.preemptionPolicy`, spec.preemptionPolicy, ["PreemptLowerPriority", "Never"]),
    ...(spec.overhead ? validateRequirements({ limits: spec.overhead }, `${at}.overhead`) : []),
    ...validateOs(spec, at),
  ];
}

/** A Pod with users of its own shares no other namespace with the host. */
function validateHostUsers(spec: k8s.PodSpec, at: string): FieldError[] {
  if (spec.hostUsers !== false) return [];
  const shared = [
    ["hostNetwork", spec.hostNetwork],
    ["HostPID", spec.hostPID],
    ["HostIPC", spec.hostIPC],
  ] as const;
  return shared
    .filter(([, value]) => value)
    .map(([field]) => forbidden(`${at}.${field}`, "when `pod.Spec.HostUsers` is false"));
}

function validatePodOnly(spec: k8s.PodSpec, at: string): FieldError[] {
  const tokens = spec.serviceAccountName ? [] : (spec.volumes ?? []);
  return [
    ...each(tokens, `${at}.volumes`, ({ projected }, here) =>
      each(projected?.sources, `${here}.projected.sources`, ({ serviceAccountToken }, sourceAt) =>
        serviceAccountToken
          ? [forbidden(`${sourceAt}.serviceAccountToken`, "must not be specified when serviceAccountName is not set")]
          : [],
      ),
    ),
    ...each(spec.containers, `${at}.containers`, validateImageSpace),
    ...each(spec.initContainers, `${at}.initContainers`, validateImageSpace),
  ];
}
