import type { KubeObject } from "../../api/index.ts";
import { internManagedFields } from "./interned.ts";

/**
 * Values are stored as JSON without resourceVersion, which only the commit knows; an entry's bytes have it spliced in behind
 * `"metadata":{`, which `encodeForStore` puts near the front. That is the one encoding every get, list and watch sends.
 */
const MARK = Buffer.from('"metadata":{');
const CLOSING_BRACE = 0x7d;

/** Objects whose encoding we made ourselves, so that nobody parses it again. */
const decoded = new WeakMap<Uint8Array, KubeObject>();

/** Encodes an object that from now on belongs to the store. `metadata.resourceVersion` is left out. */
export function encodeForStore(object: KubeObject): Uint8Array {
  const { apiVersion, kind, metadata, ...rest } = object;
  const { resourceVersion: _dropped, selfLink: _old, ...meta } = metadata;
  const whole: KubeObject = { kind, apiVersion, metadata: meta, ...rest };
  const text = JSON.stringify(whole);
  const value = Buffer.allocUnsafeSlow(Buffer.byteLength(text));
  value.write(text);
  decoded.set(value, whole);
  return value;
}

export class Entry {
  readonly key: string;
  readonly revision: number;
  readonly json: Buffer;
  #object: KubeObject | undefined;

  constructor(key: string, revision: number, json: Buffer, object: KubeObject | undefined) {
    this.key = key;
    this.revision = revision;
    this.json = json;
    this.#object = object;
  }

  /** From what the store holds. */
  static of(key: string, value: Uint8Array, revision: number): Entry {
    const object = decoded.get(value);
    if (object) {
      // Once only: a frozen object can't take another revision, and the store may keep the value for long.
      decoded.delete(value);
      object.metadata.resourceVersion = String(revision);
      internManagedFields(object);
      deepFreeze(object);
    }
    return new Entry(key, revision, spliceRevision(value, revision), object);
  }

  /** The same object as of a later revision: what a watch reports for a delete. */
  at(revision: number): Entry {
    const object = { ...this.object, metadata: { ...this.object.metadata, resourceVersion: String(revision) } };
    const { metadata, kind, apiVersion, ...rest } = object;
    const json = Buffer.from(JSON.stringify({ kind, apiVersion, metadata, ...rest }));
    return new Entry(this.key, revision, json, deepFreeze(object));
  }

  /** Parsed once, frozen, shared by everybody in the process. */
  get object(): KubeObject {
    return (this.#object ??= parse(this.json));
  }
}

function parse(json: Buffer): KubeObject {
  const object = JSON.parse(json.toString()) as KubeObject;
  internManagedFields(object);
  return deepFreeze(object);
}

function spliceRevision(value: Uint8Array, revision: number): Buffer {
  const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  const at = bytes.indexOf(MARK) + MARK.length;
  const text = `"resourceVersion":"${revision}"${bytes[at] === CLOSING_BRACE ? "" : ","}`;
  const json = Buffer.allocUnsafeSlow(bytes.length + text.length);
  bytes.copy(json, 0, 0, at);
  json.write(text, at, "latin1");
  bytes.copy(json, at + text.length, at);
  return json;
}

function deepFreeze<T>(value: T): T {
  if (typeof value !== "object" || value === null || Object.isFrozen(value)) return value;
  Object.freeze(value);
  if (Array.isArray(value)) for (const item of value) deepFreeze(item);
  else for (const key in value) deepFreeze(value[key]);
  return value;
}
