import { MAX_JSON_BODY_BYTES, MAX_JSON_DEPTH } from "../../base/index.ts";
import type { ApiRequest, KubeObject } from "../../api/index.ts";
import { thaw } from "./operation.ts";
import { badRequestError, tooLargeError, unsupportedMediaTypeError } from "./status.ts";

const ACCEPTED = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

export interface Decoded {
  readonly value: unknown;
  /** Field names in the text, duplicates counted; undefined when unknown (YAML, in-process objects). */
  readonly keyCount: number | undefined;
  readonly text: string | undefined;
  /** A name that stands twice in one mapping of a YAML text, as Go's parser says it; the last one counts. */
  readonly doubled?: string;
}

/** The media type without parameters. */
export function mediaType(header: string | undefined): string {
  return (header ?? "").split(";", 1)[0]!.trim().toLowerCase();
}

/** Parses a body as JSON or YAML. In-process callers' objects are copied: they stay the caller's. */
export async function decodeBody(request: ApiRequest, expects: string): Promise<Decoded> {
  if (request.object !== undefined) return { value: thaw(request.object), keyCount: undefined, text: undefined };
  const body = request.body ?? new Uint8Array(0);
  if (body.length > MAX_JSON_BODY_BYTES) throw tooLargeError(MAX_JSON_BODY_BYTES);
  const type = mediaType(request.headers["content-type"]) || "application/json";
  if (type === "application/json" || type.endsWith("+json") || type === "*/*") return parseJson(body, expects);
  if (type === "application/yaml" || type.endsWith("+yaml")) return parseYaml(body, expects);
  if (type === "application/vnd.kubernetes.protobuf") {
    const { decodeProtobuf } = await import("./protobuf/decode.ts");
    return { value: decodeProtobuf(body), keyCount: undefined, text: undefined };
  }
  throw unsupportedMediaTypeError(ACCEPTED);
}

function parseJson(body: Uint8Array, expects: string): Decoded {
  const keyCount = scan(body);
  const text = Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString();
  try {
    return { value: JSON.parse(text), keyCount, text };
  } catch (error) {
    throw badRequestError(
      `the object provided is unrecognized (must be of type ${expects}): couldn't get version/kind; json parse error: ${(error as Error).message}`,
    );
  }
}

export async function parseYaml(body: Uint8Array, expects: string): Promise<Decoded> {
  const { load, JSON_SCHEMA } = await import("js-yaml");
  const text = Buffer.from(body).toString();
  const decode = (json: boolean): Decoded => {
    const value = load(text, { schema: JSON_SCHEMA, json });
    assertDepth(value, 0);
    return { value, keyCount: undefined, text: undefined };
  };
  try {
    return decode(false);
  } catch (error) {
    const doubled = doubledKey(error, text);
    if (doubled !== undefined) return { ...decode(true), doubled };
    throw badRequestError(
      `the object provided is unrecognized (must be of type ${expects}): yaml: ${(error as Error).message}`,
    );
  }
}

function doubledKey(error: unknown, text: string): string | undefined {
  const { reason, mark } = error as { reason?: string; mark?: { line: number; column: number } };
  if (reason !== "duplicated mapping key" || !mark) return undefined;
  const key = /^["']?([^"':]*)/.exec(text.split("\n")[mark.line]?.slice(mark.column) ?? "")?.[1] ?? "";
  return `yaml: unmarshal errors:\n  line ${mark.line + 1}: key ${JSON.stringify(key)} already set in map`;
}

function assertDepth(value: unknown, depth: number): void {
  if (depth > MAX_JSON_DEPTH) throw badRequestError(`the body is nested deeper than ${MAX_JSON_DEPTH} levels`);
  if (typeof value === "object" && value !== null)
    for (const item of Object.values(value)) assertDepth(item, depth + 1);
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** One pass before parsing: refuses deep nesting and counts field names (colons outside strings). */
function scan(body: Uint8Array): number {
  let depth = 0;
  let colons = 0;
  for (let at = 0; at < body.length; at++) {
    switch (body[at]) {
      case QUOTE:
        for (at++; at < body.length && body[at] !== QUOTE; at++) if (body[at] === BACKSLASH) at++;
        break;
      case 0x3a:
        colons++;
        break;
      case 0x7b:
      case 0x5b:
        if (++depth > MAX_JSON_DEPTH) throw badRequestError(`the body is nested deeper than ${MAX_JSON_DEPTH} levels`);
        break;
      case 0x7d:
      case 0x5d:
        depth--;
        break;
    }
  }
  return colons;
}

/** Names that occur twice in one object of a valid JSON text, as paths. Only run when the count says there are some. */
export function duplicateFields(text: string): string[] {
  const found = new Set<string>();
  const stack: Array<{ keys: Set<string> | undefined; path: string; index: number }> = [];
  let path = "";
  for (let at = 0; at < text.length; at++) {
    const char = text[at];
    const top = stack.at(-1);
    if (char === "{" || char === "[") {
      const inArray = top && !top.keys;
      stack.push({
        keys: char === "{" ? new Set() : undefined,
        path: inArray ? `${top.path}[${top.index}]` : path,
        index: 0,
      });
    } else if (char === "}" || char === "]") {
      stack.pop();
    } else if (char === "," && top && !top.keys) {
      top.index++;
    } else if (char === '"') {
      const start = at;
      for (at++; text[at] !== '"'; at++) if (text[at] === "\\") at++;
      const after = /\s*(:)?/y;
      after.lastIndex = at + 1;
      if (!top?.keys || !after.exec(text)?.[1]) continue;
      const key = JSON.parse(text.slice(start, at + 1)) as string;
      path = top.path === "" ? key : `${top.path}.${key}`;
      if (top.keys.has(key)) found.add(path);
      top.keys.add(key);
    }
  }
  return [...found];
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Clients in Go send a field that is not set as null, where it is a pointer. */
export function withoutNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNulls);
  if (!isObject(value)) return value;
  const set = Object.entries(value).filter(([, inner]) => inner !== null);
  return Object.fromEntries(set.map(([key, inner]) => [key, withoutNulls(inner)]));
}

/** The decoded body as an object of the kind it should have. Messages are upstream's. */
export function assertKind(value: unknown, expected: { group: string; version: string; kind: string }): KubeObject {
  const apiVersion = expected.group === "" ? expected.version : `${expected.group}/${expected.version}`;
  if (!isObject(value)) {
    throw badRequestError(
      `the object provided is unrecognized (must be of type ${expected.kind}): couldn't get version/kind; json parse error: json: cannot unmarshal ${goType(value)} into Go value of type struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }`,
    );
  }
  const given = value as Partial<KubeObject>;
  given.kind ??= expected.kind;
  given.apiVersion ??= apiVersion;
  if (given.apiVersion !== apiVersion) {
    throw badRequestError(
      `the API version in the data (${given.apiVersion}) does not match the expected API version (${apiVersion})`,
    );
  }
  if (given.kind !== expected.kind) {
    throw badRequestError(
      `${given.kind} in version "${expected.version}" cannot be handled as a ${expected.kind}: converting (${given.apiVersion}, Kind=${given.kind}) to (${apiVersion}, Kind=${expected.kind}): unknown conversion`,
    );
  }
  if (given.metadata !== undefined && given.metadata !== null && !isObject(given.metadata)) {
    throw badRequestError(
      `${expected.kind} in version "${expected.version}" cannot be handled as a ${expected.kind}: json: cannot unmarshal ${goType(given.metadata)} into Go struct field ${expected.kind}.metadata of type v1.ObjectMeta`,
    );
  }
  given.metadata ??= {};
  return given as KubeObject;
}

export function goType(value: unknown): string {
  if (Array.isArray(value)) return "array";
  if (typeof value === "boolean") return "bool";
  return value === null ? "null" : typeof value;
}
