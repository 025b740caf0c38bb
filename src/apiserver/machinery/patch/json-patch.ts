import { goType, isObject } from "../decode.ts";
import { equalJson, thaw } from "../operation.ts";
import { badRequestError, statusError } from "../status.ts";

/** RFC 6902. Operations work on a copy: a patch applies whole or not at all. */
const MAX_OPERATIONS = 10_000;

interface Place {
  readonly parent: Record<string, unknown> | unknown[];
  readonly key: string;
}

export function applyJsonPatch(document: unknown, patch: unknown): unknown {
  if (!Array.isArray(patch))
    throw badRequestError(
      `error decoding patch: json: cannot unmarshal ${goType(patch)} into Go value of type []handlers.jsonPatchOp`,
    );
  if (patch.length > MAX_OPERATIONS) {
    throw statusError("invalidArgument", {
      code: 413,
      reason: "RequestEntityTooLarge",
      message: `Request entity too large: The allowed maximum operations in a JSON patch is ${MAX_OPERATIONS}, got ${patch.length}`,
    });
  }
  const root = { "": thaw(document) };
  for (const operation of patch) applyOperation(root, operation);
  return root[""];
}

function rejected(): Error {
  return statusError("invalidArgument", {
    code: 422,
    reason: "Invalid",
    message: "the server rejected our request due to an error in our request",
    details: {},
  });
}

function applyOperation(root: Record<string, unknown>, operation: unknown): void {
  if (!isObject(operation)) throw badRequestError("error decoding patch: an operation must be an object");
  const { op, path, from, value } = operation;
  switch (op) {
    case "add":
      return add(root, path, thaw(value));
    case "replace":
      return replace(root, path, thaw(value));
    case "remove":
      remove(root, path);
      return;
    case "test":
      if (!equalJson(read(root, path) ?? null, value ?? null)) throw rejected();
      return;
    case "copy":
      return add(root, path, thaw(existing(root, from)));
    case "move":
      if (typeof path === "string" && path.startsWith(`${String(from)}/`)) throw rejected();
      return add(root, path, remove(root, from));
    default:
      throw rejected();
  }
}

/** The container of what a pointer names. https://www.rfc-editor.org/rfc/rfc6901 */
function resolve(root: Record<string, unknown>, pointer: unknown): Place {
  if (typeof pointer !== "string" || (pointer !== "" && !pointer.startsWith("/"))) throw rejected();
  const tokens = pointer.split("/").map((token) => token.replaceAll("~1", "/").replaceAll("~0", "~"));
  let parent: unknown = root;
  for (const token of tokens.slice(0, -1)) {
    parent = Array.isArray(parent) ? parent[indexOf(parent, token, parent.length - 1)] : own(parent, token);
  }
  if (!isObject(parent) && !Array.isArray(parent)) throw rejected();
  return { parent, key: tokens.at(-1)! };
}

function own(value: unknown, key: string): unknown {
  if (!isObject(value) || !Object.hasOwn(value, key)) throw rejected();
  return value[key];
}

function indexOf(list: readonly unknown[], token: string, max: number): number {
  if (token === "-") return list.length;
  if (!/^(0|[1-9]\d*)$/.test(token) || Number(token) > max) throw rejected();
  return Number(token);
}

function read(root: Record<string, unknown>, pointer: unknown): unknown {
  const { parent, key } = resolve(root, pointer);
  if (Array.isArray(parent)) return parent[indexOf(parent, key, parent.length - 1)];
  return Object.hasOwn(parent, key) ? parent[key] : undefined;
}

function existing(root: Record<string, unknown>, pointer: unknown): unknown {
  const { parent, key } = resolve(root, pointer);
  return Array.isArray(parent) ? parent[indexOf(parent, key, parent.length - 1)] : own(parent, key);
}

function add(root: Record<string, unknown>, pointer: unknown, value: unknown): void {
  const { parent, key } = resolve(root, pointer);
  if (Array.isArray(parent)) parent.splice(indexOf(parent, key, parent.length), 0, value);
  else define(parent, key, value);
}

function replace(root: Record<string, unknown>, pointer: unknown, value: unknown): void {
  const { parent, key } = resolve(root, pointer);
  if (Array.isArray(parent)) parent[indexOf(parent, key, parent.length - 1)] = value;
  else {
    own(parent, key);
    define(parent, key, value);
  }
}

function remove(root: Record<string, unknown>, pointer: unknown): unknown {
  const { parent, key } = resolve(root, pointer);
  if (Array.isArray(parent)) return parent.splice(indexOf(parent, key, parent.length - 1), 1)[0];
  const value = own(parent, key);
  delete parent[key];
  return value;
}

/** `__proto__` is a name like any other. */
function define(object: Record<string, unknown>, key: string, value: unknown): void {
  Object.defineProperty(object, key, { value, enumerable: true, writable: true, configurable: true });
}
