import { lastPart, MAGIC, messageName, messageOf, META, UNKNOWN, type Field, type Special } from "./facts.ts";

type Json = Readonly<Record<string, unknown>>;

/** Whether upstream has a protobuf message for objects of this kind: custom resources and tables have none. */
export function hasProtobuf(apiVersion: string, kind: string): boolean {
  return messageOf(messageName(apiVersion, kind)) !== undefined;
}

/** An object as a body: the magic bytes and runtime.Unknown around it. The kind must be one that `hasProtobuf`. */
export function encodeProtobuf(object: Json): Buffer {
  const { apiVersion = "", kind = "" } = object as { apiVersion?: string; kind?: string };
  const raw = encodeMessage(object, messageName(apiVersion, kind));
  return Buffer.concat([MAGIC, encodeMessage({ typeMeta: { apiVersion, kind }, raw }, UNKNOWN)]);
}

const FRAME_LENGTH_BYTES = 4;

/** Events of a watch: each a length in four bytes, big end first, and a WatchEvent with the object's body inside. */
export function encodeProtobufEvents(
  events: ReadonlyArray<{ readonly type: string; readonly object: unknown }>,
): Buffer {
  const frames = events.flatMap(({ type, object }) => {
    const raw = encodeMessage({ raw: encodeProtobuf(object as Json) }, "apimachinery.pkg.runtime.RawExtension");
    const event = Buffer.concat([
      encodeMessage({ type }, `${META}.WatchEvent`),
      lengthDelimited(EVENT_OBJECT_FIELD, raw),
    ]);
    const length = Buffer.alloc(FRAME_LENGTH_BYTES);
    length.writeUInt32BE(event.length);
    return [length, event];
  });
  return Buffer.concat(frames);
}
const EVENT_OBJECT_FIELD = 2;

/** Fields that are absent are left out: what reads them takes a zero for that. */
function encodeMessage(object: Json, name: string): Buffer {
  const message = messageOf(name);
  if (!message) throw new TypeError(`upstream has no protobuf message ${name}`);
  const parts: Buffer[] = [];
  for (const field of message.fields) encodeField(parts, field, object);
  return Buffer.concat(parts);
}

function encodeField(parts: Buffer[], { name, number, kind, type }: Field, object: Json): void {
  if (kind === "embedded") {
    const own = encodeMessage(object, type);
    if (own.length > 0) parts.push(lengthDelimited(number, own));
    return;
  }
  const value = object[name];
  if (value === undefined || value === null) return;
  if (kind === "repeated") for (const item of value as unknown[]) parts.push(encodeValue(number, type, item));
  else if (kind === "map") {
    for (const [key, item] of Object.entries(value)) {
      const pair = Buffer.concat([lengthDelimited(1, Buffer.from(key)), encodeValue(2, type, item)]);
      parts.push(lengthDelimited(number, pair));
    }
  } else parts.push(encodeValue(number, type, value));
}

function encodeValue(number: number, type: string, value: unknown): Buffer {
  switch (type) {
    case "s":
      return lengthDelimited(number, Buffer.from(String(value)));
    case "y":
      return lengthDelimited(number, Buffer.isBuffer(value) ? value : Buffer.from(String(value), "base64"));
    case "b":
      return Buffer.concat([tag(number, VARINT), varint(value ? 1n : 0n)]);
    case "i":
      return Buffer.concat([tag(number, VARINT), varint(BigInt.asUintN(64, BigInt(Math.trunc(Number(value)))))]);
    case "d": {
      const bytes = Buffer.alloc(8);
      bytes.writeDoubleLE(Number(value));
      return Buffer.concat([tag(number, FIXED64), bytes]);
    }
    case "f": {
      const bytes = Buffer.alloc(4);
      bytes.writeFloatLE(Number(value));
      return Buffer.concat([tag(number, FIXED32), bytes]);
    }
    default:
      return lengthDelimited(number, encodeMessage(fieldsOf(type, value), type));
  }
}

/** The fields of a message whose JSON may not be an object of them. */
function fieldsOf(type: string, value: unknown): Json {
  switch (lastPart(type) as Special) {
    case "Quantity":
      return { string: String(value) };
    case "IntOrString":
      return typeof value === "number" ? { type: 0, intVal: value } : { type: 1, strVal: value };
    case "Time":
    case "MicroTime":
      return timeFields(String(value));
    case "Duration":
      return { duration: nanosecondsOf(String(value)) };
    case "FieldsV1":
      return { Raw: Buffer.from(JSON.stringify(value)) };
    case "RawExtension":
    case "JSON":
      return { raw: Buffer.from(JSON.stringify(value)) };
    case "ExtraValue":
    case "Verbs":
      return { items: value };
    case "JSONSchemaPropsOrArray":
      return Array.isArray(value) ? { jSONSchemas: value } : { schema: value };
    case "JSONSchemaPropsOrBool":
      return typeof value === "boolean" ? { allows: value } : { allows: true, schema: value };
    case "JSONSchemaPropsOrStringArray":
      return Array.isArray(value) ? { property: value } : { schema: value };
    default:
      return value as Json;
  }
}

function timeFields(text: string): Json {
  const milliseconds = Date.parse(text);
  const fraction = /\.(\d+)/.exec(text)?.[1] ?? "";
  return { seconds: Math.floor(milliseconds / 1000), nanos: Number(fraction.padEnd(9, "0").slice(0, 9)) };
}

const NANOSECONDS: Readonly<Record<string, number>> = {
  h: 3_600e9,
  m: 60e9,
  s: 1e9,
  ms: 1e6,
  us: 1e3,
  µs: 1e3,
  ns: 1,
};

/** Go's duration text, such as `1h0m10s`. */
function nanosecondsOf(text: string): number {
  let total = 0;
  for (const [, number, unit] of text.matchAll(/([\d.]+)(h|ms|m|s|us|µs|ns)/g))
    total += Number(number) * NANOSECONDS[unit!]!;
  return text.startsWith("-") ? -total : total;
}

// ---- The wire format: https://protobuf.dev/programming-guides/encoding/

const VARINT = 0;
const FIXED64 = 1;
const DELIMITED = 2;
const FIXED32 = 5;

function tag(number: number, wireType: number): Buffer {
  return varint(BigInt(number * 8 + wireType));
}

function lengthDelimited(number: number, bytes: Buffer): Buffer {
  return Buffer.concat([tag(number, DELIMITED), varint(BigInt(bytes.length)), bytes]);
}

function varint(value: bigint): Buffer {
  if (value < 0x80n) return Buffer.of(Number(value));
  const bytes: number[] = [];
  for (let left = value; ; left >>= 7n) {
    if (left < 0x80n) return Buffer.from([...bytes, Number(left)]);
    bytes.push(Number(left & 0x7fn) | 0x80);
  }
}
