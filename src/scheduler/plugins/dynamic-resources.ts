import type { k8s } from "../../api/index.ts";
import { hasCode, messageOf } from "../../base/index.ts";
import { resources, type KubeClient, type Stored } from "../../client/index.ts";
import type { Cluster } from "../cluster.ts";
import { allocate } from "../devices/allocator.ts";
import { deviceId, gatherPools, meansNode } from "../devices/pools.ts";
import { Selectors } from "../devices/selectors.ts";
import { refuse, type FilterRun, type Plugin, type PreFilterRefusal, type Refusal } from "../framework.ts";
import type { NodeInfo } from "../node-info.ts";
import type { PodInfo } from "../pod-info.ts";

type Claim = Stored<k8s.ResourceClaim>;

const NAME = "DynamicResources";
const FINALIZER = "resource.kubernetes.io/delete-protection";
const ELSEWHERE = refuse(NAME, false, "resourceclaim not available on the node");
const NOT_ENOUGH = refuse(NAME, false, "cannot allocate all claims");
const MAX_ATTEMPTS = 5;

interface Pending {
  readonly pod: string;
  readonly key: string;
  readonly allocation: k8s.AllocationResult;
  /** Of the claim as it was written; undefined while that is still to be done. */
  writtenVersion?: number;
}

/** What one scheduling cycle has found out, until a node is chosen. */
interface Cycle {
  readonly uid: string;
  readonly claims: readonly Claim[];
  readonly missing: readonly Claim[];
  readonly perNode: Map<string, readonly k8s.AllocationResult[]>;
  /** Claims whose devices are on other nodes only. */
  readonly elsewhere: Set<Claim>;
}

/**
 * Devices for Pods (https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/): a node will do where all claims of
 * the Pod are, or can be, allocated. What was chosen is held from the moment the node is, and written before the Pod is bound.
 */
export class DynamicResources implements Plugin {
  readonly name = NAME;
  readonly #client: KubeClient;
  readonly #selectors = new Selectors();
  /** Allocations that the informer hasn't shown yet, by the claim's uid. */
  readonly #pending = new Map<string, Pending>();
  #cycle: Cycle | undefined;

  constructor(client: KubeClient) {
    this.#client = client;
  }

  /** A Pod whose claims are not made yet is not looked at. */
  async ready(info: PodInfo): Promise<void> {
    if (info.pod.spec?.resourceClaims?.length) await this.#selectors.load();
  }

  isHeldBack(info: PodInfo, cluster: Cluster): boolean {
    if (!info.pod.spec?.resourceClaims?.length) return false;
    return !this.#selectors.isLoaded || typeof claimsOf(info, cluster) === "string";
  }

  preFilter(info: PodInfo, cluster: Cluster): FilterRun | PreFilterRefusal | undefined {
    this.#cycle = undefined;
    if (!info.pod.spec?.resourceClaims?.length) return undefined;
    const claims = claimsOf(info, cluster);
    if (typeof claims === "string") return stop(claims);
    if (claims.length === 0) return undefined;
    this.#forgetShown(cluster);
    const missing = claims.filter(({ status }) => status?.allocation === undefined);
    for (const claim of missing) {
      if (this.#pending.has(claim.metadata.uid))
        return stop(`resource claim ${keyOf(claim)} is in the process of being allocated`);
      const unknown = unknownClass(claim, cluster);
      if (unknown !== undefined) return stop(unknown);
    }
    const cycle: Cycle = { uid: info.uid, claims, missing, perNode: new Map(), elsewhere: new Set() };
    this.#cycle = cycle;
    return this.#filterFor(cycle, cluster);
  }

  #filterFor(cycle: Cycle, cluster: Cluster): FilterRun {
    const { deviceClasses, resourceSlices } = cluster.listers;
    const options = {
      classes: (name: string) => deviceClasses.get(name),
      select: this.#selectors.forCycle(),
      taken: this.#taken(cluster),
    };
    const slices = resourceSlices.list();
    const filter = (node: NodeInfo): Refusal | undefined => {
      const away = cycle.claims.filter(({ status }) => !isThere(status?.allocation, node));
      for (const claim of away) cycle.elsewhere.add(claim);
      if (away.length > 0) return ELSEWHERE;
      if (cycle.missing.length === 0) return undefined;
      try {
        const results = allocate(cycle.missing, { ...options, pools: gatherPools(slices, node) });
        if (results === undefined) return NOT_ENOUGH;
        cycle.perNode.set(node.name, results);
        return undefined;
      } catch (error) {
        return refuse(NAME, false, messageOf(error));
      }
    };
    return { filter };
  }

  /** What the informer has caught up with is told by it from then on. */
  #forgetShown({ listers }: Cluster): void {
    for (const [uid, { key, writtenVersion }] of this.#pending) {
      if (writtenVersion === undefined) continue;
      const shown = listers.resourceClaims.get(key);
      const isNewer = Number(shown?.metadata.resourceVersion ?? Infinity) >= writtenVersion;
      if (isNewer || shown?.metadata.uid !== uid) this.#pending.delete(uid);
    }
  }

  #taken(cluster: Cluster): Set<string> {
    const stored = cluster.listers.resourceClaims.list().flatMap(({ status }) => status?.allocation ?? []);
    const pending = [...this.#pending.values()].map(({ allocation }) => allocation);
    return new Set(
      [...stored, ...pending]
        .flatMap(({ devices }) => devices?.results ?? [])
        .filter(({ adminAccess }) => adminAccess !== true)
        .map(({ driver, pool, device }) => deviceId(driver, pool, device)),
    );
  }

  reserve(info: PodInfo, node: NodeInfo): void {
    const cycle = this.#endCycle(info);
    const results = cycle?.perNode.get(node.name) ?? [];
    for (const [at, claim] of (cycle?.missing ?? []).entries())
      this.#pending.set(claim.metadata.uid, { pod: info.uid, key: keyOf(claim), allocation: results[at]! });
  }

  /** What this cycle has found out about the Pod; a later one begins anew. */
  #endCycle({ uid }: PodInfo): Cycle | undefined {
    const cycle = this.#cycle?.uid === uid ? this.#cycle : undefined;
    this.#cycle = undefined;
    return cycle;
  }

  unreserve(info: PodInfo): void {
    for (const [uid, { pod, writtenVersion }] of this.#pending)
      if (pod === info.uid && writtenVersion === undefined) this.#pending.delete(uid);
  }

  async preBind(info: PodInfo, _node: NodeInfo, cluster: Cluster, signal: AbortSignal): Promise<void> {
    if (!info.pod.spec?.resourceClaims?.length) return;
    const claims = claimsOf(info, cluster);
    if (typeof claims === "string") throw new Error(claims);
    for (const { metadata } of claims) {
      const pending = this.#pending.get(metadata.uid);
      const version = await this.#write(info, metadata, pending?.allocation, signal);
      if (pending !== undefined) pending.writtenVersion = Number(version);
    }
  }

  /** Allocates the claim, if that is still to be done, and reserves it for the Pod. Returns the version that says so. */
  async #write(
    { pod }: PodInfo,
    { name, namespace, uid }: Claim["metadata"],
    allocation: k8s.AllocationResult | undefined,
    signal: AbortSignal,
  ): Promise<string> {
    const client = this.#client.of(resources.resourceClaims);
    for (let attempt = 1; ; attempt++) {
      try {
        let claim = await client.get({ name, namespace }, { signal });
        if (claim.metadata.uid !== uid) throw new Error(`claim ${namespace}/${name} got replaced`);
        const { finalizers = [] } = claim.metadata;
        if (allocation !== undefined && !finalizers.includes(FINALIZER)) {
          const metadata = { ...claim.metadata, finalizers: [...finalizers, FINALIZER] };
          claim = await client.update({ ...claim, metadata }, { signal });
        }
        const { reservedFor = [], ...rest } = claim.status ?? {};
        if (allocation !== undefined && rest.allocation !== undefined)
          throw new Error(`claim ${namespace}/${name} got allocated elsewhere in the meantime`);
        if (allocation === undefined && rest.allocation === undefined)
          throw new Error(`claim ${namespace}/${name} got deallocated elsewhere in the meantime`);
        if (reservedFor.some((consumer) => consumer.uid === pod.metadata.uid)) return claim.metadata.resourceVersion;
        const consumer = { resource: "pods", name: pod.metadata.name, uid: pod.metadata.uid };
        const status = { ...rest, allocation: allocation ?? rest.allocation, reservedFor: [...reservedFor, consumer] };
        return (await client.updateStatus({ ...claim, status }, { signal })).metadata.resourceVersion;
      } catch (error) {
        if (!hasCode(error, "conflict") || attempt === MAX_ATTEMPTS) throw error;
      }
    }
  }

  /** A claim whose devices are elsewhere and that nobody else uses is given back: it may be allocated where the Pod fits. */
  async postFilter(info: PodInfo, signal: AbortSignal): Promise<void> {
    const cycle = this.#endCycle(info);
    const [claim] = [...(cycle?.elsewhere ?? [])].filter(({ status }) =>
      (status?.reservedFor ?? []).every(({ uid }) => uid === info.uid),
    );
    if (claim === undefined) return;
    const { allocation: _allocation, reservedFor: _reservedFor, devices: _devices, ...status } = claim.status!;
    await this.#client.of(resources.resourceClaims).updateStatus({ ...claim, status }, { signal });
  }

  mayHelp(_pod: k8s.Pod, { kind, action }: Parameters<NonNullable<Plugin["mayHelp"]>>[1]): boolean {
    return kind === "device" || (kind === "node" && action !== "delete");
  }
}

const keyOf = ({ metadata: { namespace, name } }: Claim): string => `${namespace}/${name}`;
const stop = (reason: string): PreFilterRefusal => ({ refusal: refuse(NAME, false, reason) });

const isThere = (allocation: k8s.AllocationResult | undefined, node: NodeInfo): boolean =>
  allocation?.nodeSelector === undefined || meansNode({ nodeSelector: allocation.nodeSelector }, node);

/** The claims that a Pod names, or why it has to wait for one. */
function claimsOf({ pod, namespace }: PodInfo, { listers }: Cluster): Claim[] | string {
  const claims: Claim[] = [];
  for (const { name, resourceClaimName, resourceClaimTemplateName } of pod.spec?.resourceClaims ?? []) {
    const status = pod.status?.resourceClaimStatuses?.find((one) => one.name === name);
    if (!resourceClaimName && status === undefined)
      return `pod "${namespace}/${pod.metadata.name}": ResourceClaim not created yet`;
    const claimName = resourceClaimName ?? status?.resourceClaimName;
    if (claimName === undefined) continue; // The status says that none is needed.
    const claim = listers.resourceClaims.get(`${namespace}/${claimName}`);
    if (claim === undefined) return `resourceclaim.resource.k8s.io "${claimName}" not found`;
    if (claim.metadata.deletionTimestamp) return `resourceclaim "${claimName}" is being deleted`;
    const isOwn = claim.metadata.ownerReferences?.some(({ uid }) => uid === pod.metadata.uid);
    if (resourceClaimTemplateName && !isOwn)
      return `ResourceClaim ${namespace}/${claimName} was not created for pod ${namespace}/${pod.metadata.name} (pod is not owner)`;
    claims.push(claim);
  }
  return claims;
}

function unknownClass({ spec }: Claim, { listers }: Cluster): string | undefined {
  for (const { name, exactly, firstAvailable = [] } of spec.devices?.requests ?? []) {
    const wanted = exactly
      ? [{ request: name, ...exactly }]
      : firstAvailable.map((one) => ({ request: `${name}/${one.name}`, ...one }));
    for (const { request, deviceClassName } of wanted)
      if (listers.deviceClasses.get(deviceClassName) === undefined)
        return `request ${request}: device class ${deviceClassName} does not exist`;
  }
  return undefined;
}
