import { failedPrecondition, KeyedMutex, messageOf, type Logger } from "../../../base/index.ts";
import { Checkpoint } from "../checkpoint.ts";
import type { KubeletApi } from "../kubelet-api.ts";
import type { Container, Pod } from "../pod/imports.ts";
import type { DraDrivers } from "./drivers.ts";
import type { ClaimRef, PreparedDevice, ResourceClaim } from "./types.ts";

export interface ResourceClaimsOptions {
  readonly api: Pick<KubeletApi, "resourceClaim">;
  readonly drivers: Pick<DraDrivers, "get">;
  readonly log: Logger;
  /** Which claims are prepared, for whom. */
  readonly checkpoint: string;
}

/** A claim that drivers were asked to prepare on this node. */
interface PreparedClaim extends ClaimRef {
  readonly drivers: readonly string[];
  /** By uid. The last one has it unprepared. */
  readonly pods: readonly string[];
  /** Undefined until all drivers are done. */
  readonly devices?: readonly PreparedDevice[];
}

/**
 * Claims of dynamic resources on this node: prepared by their drivers before the first Pod that has them reserved gets its sandbox, and given back after the
 * last one has stopped. That a driver is asked stands on disk before it is asked. https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/
 */
export class ResourceClaims {
  readonly #options: ResourceClaimsOptions;
  readonly #checkpoint: Checkpoint<readonly PreparedClaim[]>;
  /** By namespace and name. */
  readonly #claims = new Map<string, PreparedClaim>();
  readonly #alone = new KeyedMutex();

  constructor(options: ResourceClaimsOptions) {
    this.#options = options;
    this.#checkpoint = new Checkpoint(options.checkpoint);
  }

  async recover(): Promise<void> {
    for (const claim of (await this.#checkpoint.load()) ?? []) this.#claims.set(keyOf(claim), claim);
  }

  /** Idempotent. Throws failedPrecondition, in upstream's words. */
  async prepare(pod: Pod): Promise<void> {
    try {
      for (const { name, ofPod } of claimNames(pod)) {
        const key = keyOf({ namespace: pod.metadata.namespace!, name });
        await this.#alone.run(key, () => this.#prepare(pod, key, name, ofPod));
      }
    } catch (error) {
      throw failedPrecondition(`prepare dynamic resources: ${messageOf(error)}`, { cause: error });
    }
  }

  async #prepare(pod: Pod, key: string, name: string, ofPod: boolean): Promise<void> {
    const { uid: podUid } = pod.metadata;
    const known = this.#claims.get(key);
    if (known?.devices && known.pods.includes(podUid!)) return;
    const claim = await this.#reserved(pod, name, ofPod);
    const uid = claim.metadata.uid!;
    if (known && known.uid !== uid)
      throw failedPrecondition(
        `old ResourceClaim with same name ${name} and different UID ${known.uid} still exists (previous pod force-deleted?!)`,
      );
    const results = claim.status?.allocation?.devices?.results ?? [];
    const drivers = known?.drivers ?? [...new Set(results.map(({ driver }) => driver))];
    // One that isn't there fails before anything is written down: the Pod can be deleted without it.
    const asked = drivers.map((driver) => this.#options.drivers.get(driver));
    const pods = [...new Set([...(known?.pods ?? []), podUid!])];
    const ref = { namespace: pod.metadata.namespace!, name, uid };
    await this.#put({ ...ref, drivers, pods, ...(known?.devices && { devices: known.devices }) });
    if (known?.devices) return;
    const devices: PreparedDevice[] = [];
    for (const driver of asked) devices.push(...(await driver.prepare(ref)));
    await this.#put({ ...ref, drivers, pods, devices });
  }

  async #reserved(pod: Pod, name: string, ofPod: boolean): Promise<ResourceClaim> {
    const { namespace, name: podName, uid } = pod.metadata;
    const claim = await this.#options.api.resourceClaim(namespace!, name);
    if (!claim)
      throw failedPrecondition(`fetch ResourceClaim ${name}: resourceclaims.resource.k8s.io "${name}" not found`);
    if (ofPod && !claim.metadata.ownerReferences?.some((owner) => owner.controller && owner.uid === uid))
      throw failedPrecondition(
        `ResourceClaim ${namespace}/${name} was not created for pod ${namespace}/${podName} (pod is not owner)`,
      );
    if (!claim.status?.reservedFor?.some((user) => user.uid === uid))
      throw failedPrecondition(
        `pod ${podName} (${uid}) is not allowed to use ResourceClaim ${name} (${claim.metadata.uid})`,
      );
    if (!claim.status.allocation) throw failedPrecondition(`ResourceClaim ${name}: not allocated`);
    return claim;
  }

  /** What CDI specs have for the devices of one container. */
  cdiDevices(pod: Pod, container: Container): string[] {
    return [
      ...new Set(this.devices(pod, container).flatMap(({ devices }) => devices.flatMap((one) => one.cdiDevices))),
    ];
  }

  /** The devices of one container, by claim. */
  devices(pod: Pod, { resources }: Container): Array<{ claim: ClaimRef; devices: PreparedDevice[] }> {
    const { namespace } = pod.metadata;
    return claimNames(pod).flatMap(({ podClaim, name }) => {
      const wanted = (resources?.claims ?? []).filter((use) => use.name === podClaim);
      const claim = this.#claims.get(keyOf({ namespace: namespace!, name }));
      if (wanted.length === 0 || !claim?.devices) return [];
      const serves = ({ requests }: PreparedDevice) =>
        requests.length === 0 ||
        // A subrequest's name stands behind its request's.
        wanted.some(({ request }) => !request || requests.some((one) => one.split("/")[0] === request));
      return [{ claim, devices: claim.devices.filter(serves) }];
    });
  }

  /** The Pod's containers have ended for good. Throws when a driver is not there or refuses: it is asked again then. */
  async release(podUid: string): Promise<void> {
    for (const [key, claim] of this.#claims)
      if (claim.pods.includes(podUid)) await this.#alone.run(key, () => this.#release(key, podUid));
  }

  async #release(key: string, podUid: string): Promise<void> {
    const claim = this.#claims.get(key);
    if (!claim?.pods.includes(podUid)) return;
    const pods = claim.pods.filter((uid) => uid !== podUid);
    if (pods.length > 0) return this.#put({ ...claim, pods });
    const { namespace, name, uid } = claim;
    try {
      for (const driver of claim.drivers) await this.#options.drivers.get(driver).unprepare({ namespace, name, uid });
    } catch (error) {
      throw failedPrecondition(`unprepare dynamic resources: ${messageOf(error)}`, { cause: error });
    }
    this.#claims.delete(key);
    await this.#save();
  }

  /** Pods that went while nobody looked. */
  async keepOnly(has: (podUid: string) => boolean): Promise<void> {
    const gone = [...this.#claims.values()].flatMap(({ pods }) => pods.filter((uid) => !has(uid)));
    for (const uid of new Set(gone))
      await this.release(uid).catch((error: unknown) =>
        this.#options.log.warn("claims of a former Pod are still prepared", { uid, error: messageOf(error) }),
      );
  }

  async #put(claim: PreparedClaim): Promise<void> {
    this.#claims.set(keyOf(claim), claim);
    await this.#save();
  }

  #save(): Promise<void> {
    return this.#checkpoint.save([...this.#claims.values()]);
  }
}

const keyOf = ({ namespace, name }: { namespace: string; name: string }): string => `${namespace}/${name}`;

interface NamedClaim {
  readonly podClaim: string;
  readonly name: string;
  /** Made for the Pod: it must be the Pod's. */
  readonly ofPod: boolean;
}

/** The claims behind the names that the Pod gives them: its own, or those that were made for it of templates. None where none was needed. */
function claimNames(pod: Pod): NamedClaim[] {
  const made = new Map(pod.status?.resourceClaimStatuses?.map((one) => [one.name, one.resourceClaimName]));
  return (pod.spec?.resourceClaims ?? []).flatMap<NamedClaim>(
    ({ name: podClaim, resourceClaimName, resourceClaimTemplateName }) => {
      if (resourceClaimName) return [{ podClaim, name: resourceClaimName, ofPod: false }];
      if (!resourceClaimTemplateName) return [];
      if (!made.has(podClaim))
        throw failedPrecondition(
          `pod "${pod.metadata.namespace}/${pod.metadata.name}": PodResourceClaim "${podClaim}": ResourceClaim not created yet`,
        );
      const name = made.get(podClaim);
      return name ? [{ podClaim, name, ofPod: true }] : [];
    },
  );
}
