import { badRequestError } from "../status.ts";
import { lastPart, MAGIC, messageName, messageOf, UNKNOWN, type Field, type Special } from "./facts.ts";

const MAX_DEPTH = 100;

type Json = Record<string, unknown>;

/** A body as the JSON would have been. Throws a bad request for what isn't protobuf or isn't of a type we know. */
export function decodeProtobuf(body: Uint8Array): Json {
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  if (!bytes.subarray(0, 4).equals(MAGIC))
    throw badRequestError("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]");
  try {
    const { typeMeta, raw } = read(bytes.subarray(4), UNKNOWN, 0, true) as {
      typeMeta?: { apiVersion?: string; kind?: string };
      raw?: Buffer;
    };
    const { apiVersion = "", kind = "" } = typeMeta ?? {};
    const object = read(raw ?? Buffer.alloc(0), messageName(apiVersion, kind), 0, false);
    return { apiVersion, kind, ...object };
  } catch (error) {
    if (error instanceof RangeError) throw badRequestError(`the protobuf body is damaged: ${error.message}`);
    throw error;
  }
}

/** `wire`: keep bytes as they are instead of base64. */
function read(bytes: Buffer, name: string, depth: number, wire: boolean): Json {
  const message = messageOf(name);
  if (!message) throw badRequestError(`no kind ${JSON.stringify(name.split(".").at(-1))} is registered for protobuf`);
  if (depth > MAX_DEPTH) throw badRequestError(`the body is nested deeper than ${MAX_DEPTH} levels`);
  const reader = new Reader(bytes);
  const object: Json = {};
  while (!reader.atEnd) {
    const tag = reader.varint();
    const value = reader.value(Number(tag & 7n));
    const field = message.byNumber.get(Number(tag >> 3n));
    if (field) store(object, field, value, depth, wire);
  }
  return object;
}

function store(object: Json, field: Field, value: bigint | Buffer, depth: number, wire: boolean): void {
  const { name, kind, type } = field;
  if (kind === "embedded") Object.assign(object, read(asBytes(value), type, depth + 1, wire));
  else if (kind === "map") {
    const [key, item] = readPair(asBytes(value), type, depth, wire);
    const map = (object[name] ??= {}) as Json;
    Object.defineProperty(map, key, { value: item, enumerable: true, writable: true, configurable: true });
  } else if (kind === "repeated") {
    ((object[name] ??= []) as unknown[]).push(convert(type, value, depth, wire) ?? zeroOf(type));
  } else {
    const converted = convert(type, value, depth, wire);
    const isMeant = lastPart(type) === "JSONSchemaPropsOrBool" || !isSilentZero(name, converted);
    if (converted !== undefined && isMeant) object[name] = converted;
  }
}

function readPair(bytes: Buffer, type: string, depth: number, wire: boolean): [string, unknown] {
  const reader = new Reader(bytes);
  let key = "";
  let item: unknown = zeroOf(type);
  while (!reader.atEnd) {
    const tag = reader.varint();
    const value = reader.value(Number(tag & 7n));
    if (tag >> 3n === 1n) key = asBytes(value).toString();
    else item = convert(type, value, depth, wire);
  }
  return [key, item];
}

const zeroOf = (type: string): unknown =>
  type === "s" || type === "y" ? "" : type === "b" ? false : type.length === 1 ? 0 : {};

function convert(type: string, value: bigint | Buffer, depth: number, wire: boolean): unknown {
  switch (type) {
    case "s":
      return asBytes(value).toString();
    case "y":
      return wire ? asBytes(value) : asBytes(value).toString("base64");
    case "b":
      return value !== 0n;
    case "i":
      if (typeof value !== "bigint") throw new RangeError("a number is missing");
      return Number(BigInt.asIntN(64, value));
    case "d":
      return asBytes(value).readDoubleLE(0);
    case "f":
      return asBytes(value).readFloatLE(0);
    default: {
      const scalar = special(type, asBytes(value), depth);
      return scalar === undefined ? read(asBytes(value), type, depth + 1, wire) : scalar;
    }
  }
}

/** Types whose JSON isn't an object. `null` from a time: it is unset; `undefined`: not such a type. */
function special(type: string, bytes: Buffer, depth: number): unknown {
  const own = lastPart(type) as Special;
  const inner = () => read(bytes, type, depth + 1, true);
  switch (own) {
    case "Quantity":
      return inner()["string"] ?? "0";
    case "IntOrString": {
      const { type: kind = 0, intVal = 0, strVal = "" } = inner();
      return kind === 0 ? intVal : strVal;
    }
    case "Time":
    case "MicroTime":
      return timeOf(inner() as { seconds?: number; nanos?: number }, own === "MicroTime");
    case "Duration":
      return `${Number(inner()["duration"] ?? 0) / 1e9}s`;
    case "FieldsV1":
      return JSON.parse((inner()["Raw"] as Buffer | undefined)?.toString() || "{}") as unknown;
    case "RawExtension":
    case "JSON":
      return JSON.parse((inner()["raw"] as Buffer | undefined)?.toString() || "null") as unknown;
    case "ExtraValue":
    case "Verbs":
      return inner()["items"] ?? [];
    case "JSONSchemaPropsOrArray": {
      const { schema, jSONSchemas } = read(bytes, type, depth + 1, false);
      return schema ?? jSONSchemas ?? [];
    }
    case "JSONSchemaPropsOrBool": {
      const { schema, allows } = read(bytes, type, depth + 1, false);
      return schema ?? allows === true;
    }
    case "JSONSchemaPropsOrStringArray": {
      const { schema, property } = read(bytes, type, depth + 1, false);
      return schema ?? property ?? [];
    }
    default:
      return undefined;
  }
}

function timeOf({ seconds, nanos = 0 }: { seconds?: number; nanos?: number }, micro: boolean): string | null {
  if (seconds === undefined) return null;
  const text = new Date(seconds * 1000).toISOString();
  return micro
    ? text.replace(/\.\d+Z$/, `.${String(Math.floor(nanos / 1000)).padStart(6, "0")}Z`)
    : text.replace(/\.\d+Z$/, "Z");
}

/**
 * Go writes fields that aren't pointers even when they are zero, which its JSON leaves out. These are pointers, so their zero was meant.
 */
const MEANT = new Set(
  "replicas revisionHistoryLimit backoffLimit backoffLimitPerIndex completions parallelism progressDeadlineSeconds ttlSecondsAfterFinished activeDeadlineSeconds terminationGracePeriodSeconds gracePeriodSeconds runAsUser runAsGroup fsGroup minReplicas successfulJobsHistoryLimit failedJobsHistoryLimit startingDeadlineSeconds defaultMode mode expirationSeconds tolerationSeconds priority stabilizationWindowSeconds partition deletionGracePeriodSeconds maxFailedIndexes automountServiceAccountToken enableServiceLinks controller blockOwnerDeletion optional suspend allowPrivilegeEscalation privileged readOnlyRootFilesystem runAsNonRoot immutable shareProcessNamespace hostUsers allocateLoadBalancerNodePorts setHostnameAsFQDN ready serving terminating attachRequired podInfoOnMount".split(
    " ",
  ),
);

function isSilentZero(name: string, value: unknown): boolean {
  if (value === "" || value === null) return true;
  return (value === 0 || value === false) && !MEANT.has(name);
}

function asBytes(value: bigint | Buffer): Buffer {
  if (typeof value === "bigint") throw new RangeError("a number stands where bytes should");
  return value;
}

/** The wire format. https://protobuf.dev/programming-guides/encoding/ Throws RangeError at a premature end. */
class Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }
  get atEnd(): boolean {
    return this.#at >= this.#bytes.length;
  }
  varint(): bigint {
    let result = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.#bytes[this.#at++];
      if (byte === undefined) throw new RangeError("unexpected end");
      result |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return result;
    }
    throw new RangeError("a number is too long");
  }
  value(wireType: number): bigint | Buffer {
    if (wireType === 0) return this.varint();
    if (wireType === 1) return this.#take(8);
    if (wireType === 5) return this.#take(4);
    if (wireType === 2) return this.#take(Number(this.varint()));
    throw new RangeError(`unknown wire type ${wireType}`);
  }
  #take(length: number): Buffer {
    const end = this.#at + length;
    if (end > this.#bytes.length) throw new RangeError("unexpected end");
    const part = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return part;
  }
}
