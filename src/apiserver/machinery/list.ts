import { codeOf } from "../../base/index.ts";
import type { KubeObject, ListMeta } from "../../api/index.ts";
import type { Listing } from "../watch/cache.ts";
import { Entry } from "../watch/entry.ts";
import type { ListOptions } from "./list-options.ts";
import type { Kind } from "./kind.ts";
import { cacheOf, presentAll, type Core, type Presented } from "./operation.ts";
import { apiVersionOf } from "./registry.ts";
import { badRequestError, expiredError, tooLargeRevisionError } from "./status.ts";

export interface ListResult {
  readonly items: readonly Presented[];
  readonly metadata: ListMeta;
}

interface Token {
  /** -1: whatever is there now. */
  readonly revision: number;
  /** The key to go on from, below the resource's prefix. */
  readonly start: string;
}

const TOO_OLD =
  "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";

/** Objects of one resource by the rules of resourceVersion, resourceVersionMatch, limit and continue. */
export async function listObjects(core: Core, kind: Kind, options: ListOptions): Promise<ListResult> {
  const cache = cacheOf(core, kind);
  const prefix = cache.prefix + (options.namespace === "" || !kind.namespaced ? "" : `${options.namespace}/`);
  const token = options.continueToken === "" ? undefined : decodeToken(options.continueToken);
  if (token && options.revision) {
    throw badRequestError("specifying resource version is not allowed when using continue");
  }
  const exact = token ? token.revision : exactRevision(options);
  const from = token && cache.prefix + token.start;
  if (exact !== undefined && exact > 0) return listAt(core, kind, options, { prefix, from, revision: exact });
  if (options.revision === undefined || token) await core.feed.fresh();
  else if (options.revision > 0) await reach(core, options.revision);
  const { revision } = core.feed;
  return page(kind, options, { ...cacheOf(core, kind).list(prefix, from), root: cache.prefix, revision });
}

async function reach(core: Core, revision: number): Promise<void> {
  try {
    await core.feed.reached(revision);
  } catch (error) {
    throw codeOf(error) === "deadlineExceeded" ? tooLargeRevisionError(revision, core.feed.revision) : error;
  }
}

/** Exact when asked for, and when a page of a certain revision is (the rule from before resourceVersionMatch). */
function exactRevision({ match, revision, limit }: ListOptions): number | undefined {
  return match === "Exact" || (match === "" && limit > 0 && revision) ? revision : undefined;
}

interface Place {
  readonly prefix: string;
  readonly from: string | undefined;
  readonly revision: number;
}

/** A list as of a past revision: from the cache while it knows what has changed since, else from the store's history. */
async function listAt(core: Core, kind: Kind, options: ListOptions, place: Place): Promise<ListResult> {
  const cache = cacheOf(core, kind);
  const { prefix, from, revision } = place;
  await reach(core, revision);
  try {
    // The cache may know a revision that the store has forgotten: such a list has expired, as upstream's, unless nothing has changed since.
    if (cache.since(revision)?.length !== 0) await core.store.get(cache.prefix, { revision });
    const known = cacheOf(core, kind).at(revision, prefix, from);
    if (known) return await page(kind, options, { ...known, root: cache.prefix, revision });
    const limit = options.matches || options.limit === 0 ? undefined : options.limit + 1;
    const { kvs, count } = await core.store.range(prefix, { revision, from, limit });
    const entries = kvs.map(({ key, value, modRevision }) => Entry.of(key, value, modRevision));
    return await page(kind, options, { entries, count, root: cache.prefix, revision });
  } catch (error) {
    if (codeOf(error) !== "resourceExhausted" || options.continueToken === "") throw asExpired(error, revision);
    const start = from!.slice(cache.prefix.length);
    throw expiredError(TOO_OLD, encodeToken({ revision: -1, start }));
  }
}

function asExpired(error: unknown, revision: number): unknown {
  if (codeOf(error) !== "resourceExhausted") return error;
  return expiredError(`The resourceVersion for the provided list is too old: ${revision}.`);
}

/** `root`: the prefix of the resource's keys, which continue tokens leave out. */
interface Source extends Listing {
  readonly root: string;
  readonly revision: number;
}

async function page(kind: Kind, options: ListOptions, source: Source): Promise<ListResult> {
  const { limit, matches } = options;
  const taken: Entry[] = [];
  let next: Entry | undefined;
  for (const entry of source.entries) {
    if (matches && !matches(entry.object)) continue;
    if (limit > 0 && taken.length === limit) {
      next = entry;
      break;
    }
    taken.push(entry);
  }
  const metadata: ListMeta = { resourceVersion: String(source.revision) };
  if (next) {
    metadata.continue = encodeToken({ revision: source.revision, start: next.key.slice(source.root.length) });
    if (!matches) metadata.remainingItemCount = source.count - taken.length;
  }
  return { items: await presentAll(kind, taken), metadata };
}

function encodeToken({ revision, start }: Token): string {
  return Buffer.from(JSON.stringify({ v: "meta.k8s.io/v1", rv: revision, start })).toString("base64url");
}

function decodeToken(text: string): Token {
  try {
    const { v, rv, start } = JSON.parse(Buffer.from(text, "base64url").toString()) as Record<string, unknown>;
    if (
      v === "meta.k8s.io/v1" &&
      typeof rv === "number" &&
      typeof start === "string" &&
      !start.split("/").includes("..")
    )
      return { revision: rv, start };
  } catch {
    // Told below.
  }
  throw badRequestError("continue key is not valid: encoded continue version is not recognized or damaged");
}

/** A list spliced together from its objects' encodings. */
export function encodeList(kind: Kind, { items, metadata }: ListResult): Buffer {
  const head = `{"kind":${JSON.stringify(kind.listKind)},"apiVersion":"${apiVersionOf(kind)}","metadata":${JSON.stringify(metadata)},"items":[`;
  let size = Buffer.byteLength(head) + 2;
  for (const { json } of items) size += json.length + 1;
  const list = Buffer.allocUnsafeSlow(size);
  let at = list.write(head);
  for (const [index, { json }] of items.entries()) {
    if (index > 0) list[at++] = 0x2c;
    list.set(json, at);
    at += json.length;
  }
  at += list.write("]}", at);
  return list.subarray(0, at);
}

export function listObject(kind: Kind, { items, metadata }: ListResult): KubeObject {
  return Object.freeze({
    kind: kind.listKind,
    apiVersion: apiVersionOf(kind),
    metadata,
    items: Object.freeze(items.map(({ object }) => object)),
  }) as unknown as KubeObject;
}
