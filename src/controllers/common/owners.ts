import type { OwnerReference } from "../../api/index.ts";
import { hasCode } from "../../base/index.ts";
import {
  apiVersionOf,
  labelPredicate,
  type AnyObject,
  type Informer,
  type LabelSelectorLike,
  type Resource,
  type ResourceClient,
  type Stored,
} from "../../client/index.ts";

/** The one owner that manages this object. */
export function controllerOf(object: AnyObject): OwnerReference | undefined {
  return object.metadata?.ownerReferences?.find((owner) => owner.controller);
}

export function isControlledBy(object: AnyObject, owner: AnyObject): boolean {
  return controllerOf(object)?.uid === owner.metadata?.uid;
}

export function ownerReference(owner: AnyObject, resource: Resource): OwnerReference {
  return {
    apiVersion: apiVersionOf(resource),
    kind: resource.kind,
    name: owner.metadata!.name!,
    uid: owner.metadata!.uid!,
    controller: true,
    blockOwnerDeletion: true,
  };
}

const OWNER_INDEX = "controller";

/** Finds dependents by their controller's uid, and what nobody controls by `orphan/NAMESPACE`. */
export function indexByController<T extends AnyObject>(informer: Informer<T>): void {
  informer.addIndex(OWNER_INDEX, (object) => [
    controllerOf(object)?.uid ?? `orphan/${object.metadata.namespace ?? ""}`,
  ]);
}

export function controlledBy<T extends AnyObject>(informer: Informer<T>, owner: AnyObject): readonly Stored<T>[] {
  return informer.byIndex(OWNER_INDEX, owner.metadata!.uid!);
}

function orphansIn<T extends AnyObject>(informer: Informer<T>, namespace: string): readonly Stored<T>[] {
  return informer.byIndex(OWNER_INDEX, `orphan/${namespace}`);
}

export interface ClaimOptions<T extends AnyObject> {
  readonly owner: Stored<AnyObject>;
  readonly resource: Resource;
  readonly selector: LabelSelectorLike | undefined;
  readonly informer: Informer<T>;
  readonly client: ResourceClient<T>;
  /** Reads the owner afresh from the server: a deleted or replaced owner must not adopt (upstream's canAdoptFunc). */
  readonly freshOwner: () => Promise<Stored<AnyObject>>;
  readonly filter?: (object: Stored<T>) => boolean;
}

/** What the owner controls: adopts matching orphans, releases what no longer matches. Upstream: controller_ref_manager.go. */
export async function claim<T extends AnyObject>(options: ClaimOptions<T>): Promise<Stored<T>[]> {
  const { owner, selector, informer, filter = () => true } = options;
  const matches = labelPredicate(selector);
  const claimed: Stored<T>[] = [];
  for (const object of controlledBy(informer, owner)) {
    if (matches(object.metadata.labels) && filter(object)) claimed.push(object);
    else if (!matches(object.metadata.labels) && !owner.metadata.deletionTimestamp) await release(options, object);
  }
  if (owner.metadata.deletionTimestamp) return claimed;
  const adoptable = orphansIn(informer, owner.metadata.namespace ?? "").filter(
    (object) => !object.metadata.deletionTimestamp && matches(object.metadata.labels) && filter(object),
  );
  if (adoptable.length > 0 && (await mayAdopt(options))) {
    for (const object of adoptable) claimed.push(...(await adopt(options, object)));
  }
  return claimed;
}

async function mayAdopt<T extends AnyObject>(options: ClaimOptions<T>): Promise<boolean> {
  try {
    const fresh = await options.freshOwner();
    return fresh.metadata.uid === options.owner.metadata.uid && !fresh.metadata.deletionTimestamp;
  } catch (error) {
    if (hasCode(error, "notFound")) return false;
    throw error;
  }
}

async function adopt<T extends AnyObject>(options: ClaimOptions<T>, object: Stored<T>): Promise<Stored<T>[]> {
  const { name, namespace, uid, resourceVersion } = object.metadata;
  const ownerReferences = [...(object.metadata.ownerReferences ?? []), ownerReference(options.owner, options.resource)];
  try {
    const patch = { metadata: { uid, resourceVersion, ownerReferences } };
    return [await options.client.patch({ name, namespace }, patch)];
  } catch (error) {
    if (hasCode(error, "notFound", "invalidArgument")) return [];
    throw error;
  }
}

async function release<T extends AnyObject>(options: ClaimOptions<T>, object: Stored<T>): Promise<void> {
  const { name, namespace, uid, resourceVersion } = object.metadata;
  const ownerReferences = object.metadata.ownerReferences!.filter((owner) => owner.uid !== options.owner.metadata.uid);
  try {
    await options.client.patch({ name, namespace }, { metadata: { uid, resourceVersion, ownerReferences } });
  } catch (error) {
    if (!hasCode(error, "notFound", "invalidArgument")) throw error;
  }
}
