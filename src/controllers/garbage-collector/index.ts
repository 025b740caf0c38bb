import type { OwnerReference } from "../../api/index.ts";
import { hasCode } from "../../base/index.ts";
import { apiVersionOf, type AnyObject, type Informer, type Resource, type Stored } from "../../client/index.ts";
import { discover } from "../common/discovery.ts";
import type { Controller, ControllerContext } from "../controller.ts";

type Object_ = Stored<AnyObject>;

const RESYNC_MS = 30_000;
const FOREGROUND = "foregroundDeletion";
const ORPHAN = "orphan";
/** Never collected by ownership (upstream's ignored resources). */
const IGNORED = new Set(["events", "events.events.k8s.io"]);
const RESYNC_KEY = "resync";

/**
 * Deletes what has lost all its owners, and carries out foreground and orphaning deletion. Its graph is the informers' own: an index of
 * dependents by owner uid per resource. https://kubernetes.io/docs/concepts/architecture/garbage-collection/
 */
export const garbageCollector: Controller = {
  name: "generic-garbage-collector",
  workers: 20,
  setup: (context) => new GarbageCollector(context),
};

class GarbageCollector {
  readonly #context: ControllerContext;
  readonly #watched = new Map<string, { resource: Resource<AnyObject>; informer: Informer<AnyObject> }>();
  /** Uids for which a live look-up said that they are gone; keeps the API from being asked once per dependent. Bounded. */
  readonly #absent = new Map<string, true>();

  constructor(context: ControllerContext) {
    this.#context = context;
    context.enqueue(RESYNC_KEY);
  }

  /** Keys are `resync` and `group/version/plural|key`. */
  async reconcile(key: string, signal: AbortSignal): Promise<{ requeueAfterMs?: number } | void> {
    if (key === RESYNC_KEY) return this.#resync(signal);
    const bar = key.indexOf("|");
    const watched = this.#watched.get(key.slice(0, bar));
    const object = watched?.informer.get(key.slice(bar + 1));
    if (!watched || !object) return;
    if (object.metadata.deletionTimestamp) return this.#finish(watched.resource, object, signal);
    return this.#collect(watched.resource, object, signal);
  }

  /** New kinds (custom resources) come into the graph. */
  async #resync(signal: AbortSignal): Promise<{ requeueAfterMs: number }> {
    const all = await discover(this.#context.client, ["list", "watch", "delete"], this.#context.log, signal);
    for (const resource of all) {
      const qualified = resource.group === "" ? resource.plural : `${resource.plural}.${resource.group}`;
      const id = idOf(resource);
      if (!IGNORED.has(qualified) && !this.#watched.has(id)) this.#watch(id, resource);
    }
    await this.#context.informers.whenSynced();
    return { requeueAfterMs: RESYNC_MS };
  }

  #watch(id: string, resource: Resource<AnyObject>): void {
    const informer = this.#context.informer(resource);
    informer.addIndex("owner", (object) => object.metadata.ownerReferences?.map(({ uid }) => uid) ?? []);
    this.#watched.set(id, { resource, informer });
    const consider = (object: Object_) => {
      if (object.metadata.ownerReferences?.length || this.#isFinishing(object)) {
        this.#context.enqueue(
          `${id}|${object.metadata.namespace ? `${object.metadata.namespace}/` : ""}${object.metadata.name}`,
        );
      }
    };
    informer.onChange({
      added: consider,
      updated: (object, old) => {
        consider(object);
        for (const owner of old.metadata.ownerReferences ?? [])
          if (owner.blockOwnerDeletion && !isBlocking(object, owner.uid)) this.#enqueueOwner(owner, object);
      },
      deleted: (object) => {
        this.#rememberAbsent(object.metadata.uid);
        this.#enqueueDependents(object.metadata.uid);
        for (const owner of object.metadata.ownerReferences ?? [])
          if (owner.blockOwnerDeletion) this.#enqueueOwner(owner, object);
      },
    });
  }

  #isFinishing({ metadata }: Object_): boolean {
    return (
      metadata.deletionTimestamp !== undefined &&
      (metadata.finalizers ?? []).some((name) => name === FOREGROUND || name === ORPHAN)
    );
  }

  *#dependents(uid: string): Generator<{ id: string; resource: Resource<AnyObject>; object: Object_ }> {
    for (const [id, { resource, informer }] of this.#watched) {
      for (const object of informer.byIndex("owner", uid)) yield { id, resource, object };
    }
  }

  /** Those that are going already tell of themselves; asking them over and over would never end in a circle. */
  #enqueueDependents(uid: string): void {
    for (const { id, object } of this.#dependents(uid)) {
      if (object.metadata.deletionTimestamp && !object.metadata.finalizers?.includes(ORPHAN)) continue;
      this.#context.enqueue(
        `${id}|${object.metadata.namespace ? `${object.metadata.namespace}/` : ""}${object.metadata.name}`,
      );
    }
  }

  #enqueueOwner(owner: OwnerReference, dependent: Object_): void {
    const found = this.#find(owner, dependent.metadata.namespace);
    if (found?.object)
      this.#context.enqueue(
        `${found.id}|${found.resource.namespaced ? `${dependent.metadata.namespace}/` : ""}${owner.name}`,
      );
  }

  /** The owner's resource, whatever version the reference names, and the owner if the cache has it. */
  #find(owner: OwnerReference, namespace: string | undefined) {
    const group = owner.apiVersion.includes("/") ? owner.apiVersion.split("/")[0] : "";
    for (const [id, { resource, informer }] of this.#watched) {
      if (resource.group !== group || resource.kind !== owner.kind) continue;
      const object = informer.get(resource.namespaced ? `${namespace}/${owner.name}` : owner.name);
      return { id, resource, object: object?.metadata.uid === owner.uid ? object : undefined };
    }
    return undefined;
  }

  /** Deletes the object when no owner is left, and drops references to owners that are gone. */
  async #collect(resource: Resource<AnyObject>, object: Object_, signal: AbortSignal): Promise<void> {
    const owners = object.metadata.ownerReferences ?? [];
    if (owners.length === 0) return;
    const solid: OwnerReference[] = [];
    const waiting: OwnerReference[] = [];
    let dangling = 0;
    for (const owner of owners) {
      const state = await this.#ownerState(owner, object, signal);
      if (state === "gone") dangling++;
      else (state === "waiting" ? waiting : solid).push(owner);
    }
    if (dangling === 0 && waiting.length === 0) return;
    const client = this.#context.client.of(resource);
    const { name, namespace, uid, resourceVersion } = object.metadata;
    const preconditions = { uid, resourceVersion };
    try {
      if (solid.length > 0) {
        await client.patch(
          { name, namespace },
          { metadata: { uid, resourceVersion, ownerReferences: solid } },
          { signal },
        );
      } else if (waiting.length > 0) {
        const blocks = this.#hasBlockingDependents(object);
        if (blocks && this.#closesCircle(uid)) {
          const ownerReferences = owners.map((owner) => ({ ...owner, blockOwnerDeletion: false }));
          await client.patch({ name, namespace }, { metadata: { uid, resourceVersion, ownerReferences } }, { signal });
          return;
        }
        await client.delete(
          { name, namespace },
          { propagationPolicy: blocks ? "Foreground" : "Background", preconditions, signal },
        );
      } else {
        const { finalizers = [] } = object.metadata;
        const propagationPolicy = finalizers.includes(ORPHAN)
          ? "Orphan"
          : finalizers.includes(FOREGROUND)
            ? "Foreground"
            : "Background";
        await client.delete({ name, namespace }, { propagationPolicy, preconditions, signal });
      }
    } catch (error) {
      if (!hasCode(error, "notFound")) throw error;
    }
  }

  #hasBlockingDependents({ metadata }: Object_): boolean {
    for (const { object } of this.#dependents(metadata.uid)) if (isBlocking(object, metadata.uid)) return true;
    return false;
  }

  /** Its owners wait for it, and what it owns waits for its own dependents already: each would wait for the next one. */
  #closesCircle(uid: string): boolean {
    for (const { object } of this.#dependents(uid))
      if (
        isBlocking(object, uid) &&
        object.metadata.deletionTimestamp &&
        object.metadata.finalizers?.includes(FOREGROUND)
      )
        return true;
    return false;
  }

  /** `waiting`: the owner is being deleted in the foreground and waits for its dependents. */
  async #ownerState(
    owner: OwnerReference,
    dependent: Object_,
    signal: AbortSignal,
  ): Promise<"solid" | "waiting" | "gone"> {
    if (this.#absent.has(owner.uid)) return "gone";
    const found = this.#find(owner, dependent.metadata.namespace);
    const state = (object: Object_) =>
      object.metadata.deletionTimestamp && object.metadata.finalizers?.includes(FOREGROUND) ? "waiting" : "solid";
    if (found?.object) return state(found.object);
    // The cache may be behind: only the server's word counts for a deletion. A kind nobody serves keeps its dependents.
    if (!found) return "solid";
    const namespace = found.resource.namespaced ? dependent.metadata.namespace : undefined;
    if (found.resource.namespaced && !namespace) return "gone";
    try {
      const live = await this.#context.client.of(found.resource).get({ name: owner.name, namespace }, { signal });
      if (live.metadata.uid === owner.uid) return state(live);
    } catch (error) {
      if (!hasCode(error, "notFound")) throw error;
    }
    this.#rememberAbsent(owner.uid);
    return "gone";
  }

  #rememberAbsent(uid: string): void {
    this.#absent.set(uid, true);
    if (this.#absent.size > 5_000) this.#absent.delete(this.#absent.keys().next().value!);
  }

  async #finish(resource: Resource<AnyObject>, object: Object_, signal: AbortSignal): Promise<void> {
    const finalizers = object.metadata.finalizers ?? [];
    if (finalizers.includes(ORPHAN)) {
      await this.#orphan(object, signal);
      return this.#removeFinalizer(resource, object, ORPHAN, signal);
    }
    if (!finalizers.includes(FOREGROUND)) return;
    if (this.#hasBlockingDependents(object)) return this.#enqueueDependents(object.metadata.uid);
    await this.#removeFinalizer(resource, object, FOREGROUND, signal);
  }

  async #orphan(owner: Object_, signal: AbortSignal): Promise<void> {
    for (const { resource, object } of Array.from(this.#dependents(owner.metadata.uid))) {
      const { name, namespace, uid, resourceVersion } = object.metadata;
      const ownerReferences = object.metadata.ownerReferences!.filter(
        (reference) => reference.uid !== owner.metadata.uid,
      );
      try {
        await this.#context.client
          .of(resource)
          .patch({ name, namespace }, { metadata: { uid, resourceVersion, ownerReferences } }, { signal });
      } catch (error) {
        if (!hasCode(error, "notFound")) throw error;
      }
    }
  }

  async #removeFinalizer(
    resource: Resource<AnyObject>,
    object: Object_,
    finalizer: string,
    signal: AbortSignal,
  ): Promise<void> {
    const { name, namespace, uid, resourceVersion } = object.metadata;
    const finalizers = object.metadata.finalizers!.filter((each) => each !== finalizer);
    try {
      await this.#context.client
        .of(resource)
        .patch({ name, namespace }, { metadata: { uid, resourceVersion, finalizers } }, { signal });
    } catch (error) {
      if (!hasCode(error, "notFound")) throw error;
    }
  }
}

function isBlocking({ metadata }: Object_, owner: string): boolean {
  return metadata.ownerReferences?.some(({ uid, blockOwnerDeletion }) => uid === owner && blockOwnerDeletion) ?? false;
}

function idOf(resource: Resource): string {
  return `${apiVersionOf(resource)}/${resource.plural}`;
}
