import type { KubeObject } from "../../api/index.ts";

type Tree = { readonly [key: string]: Tree };

/** Distinct trees remembered; then the memory begins anew, and what is shared stays shared. */
const MAX_TREES = 4096;
/** What objects have in common is small; a tree beyond this is most likely one object's own. */
const MAX_TEXT_LENGTH = 4096;

const EMPTY: Tree = Object.freeze({});
const trees = new Map<string, Tree>();

/**
 * Lets objects share equal parts of their managed fields, which are most of what a parsed object takes: the Pods of one workload own the same
 * fields. Changes the object, which nobody else may see yet; the shared trees are frozen.
 */
export function internManagedFields({ metadata }: KubeObject): void {
  const { managedFields } = metadata;
  if (!Array.isArray(managedFields)) return;
  metadata.managedFields = managedFields.map((entry) => {
    const fieldsV1 = entry.fieldsV1 as Tree | undefined;
    return fieldsV1 && !Object.isFrozen(fieldsV1) ? { ...entry, fieldsV1: intern(fieldsV1) } : entry;
  });
}

function intern(tree: Tree): Tree {
  const keys = Object.keys(tree);
  if (keys.length === 0) return EMPTY;
  const text = JSON.stringify(tree);
  const known = trees.get(text);
  if (known) return known;
  const copy: Record<string, Tree> = {};
  for (const key of keys) copy[key] = intern(tree[key]!);
  if (text.length > MAX_TEXT_LENGTH) return Object.freeze(copy);
  if (trees.size >= MAX_TREES) trees.clear();
  trees.set(text, Object.freeze(copy));
  return copy;
}
