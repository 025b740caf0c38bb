import { createRequire } from "node:module";
import { BerthError, internal, type ErrorCode } from "../../base/index.ts";

/**
 * The C library, reached through koffi, which is loaded on first use: most commands and most starts need no syscall of ours.
 */
type Koffi = typeof import("koffi");
type Native = (...args: unknown[]) => number;

const require = createRequire(import.meta.url);
let loaded: { koffi: Koffi; functions: Map<string, Native>; lib: ReturnType<Koffi["load"]> } | undefined;

function load() {
  if (loaded) return loaded;
  const koffi = require("koffi") as Koffi;
  loaded = { koffi, functions: new Map(), lib: koffi.load(null) };
  return loaded;
}

/** koffi itself, for rooms that need buffers, structures or callbacks. */
export function ffi(): Koffi {
  return load().koffi;
}

/**
 * A function of the C library by its C prototype, bound once: `libc("int umount2(const char *target, int flags)")`.
 * The result of calling it is the C result; `call` below turns failures into errors.
 */
export function libc(prototype: string): Native {
  const { functions, lib } = load();
  let native = functions.get(prototype);
  if (!native) {
    native = lib.func(prototype) as unknown as Native;
    functions.set(prototype, native);
  }
  return native;
}

/** The errno of the last failed call on this thread. */
export function errno(): number {
  return load().koffi.errno();
}

const CODES: Readonly<Record<string, ErrorCode>> = {
  ENOENT: "notFound",
  ENODEV: "notFound",
  ESRCH: "notFound",
  EADDRNOTAVAIL: "notFound",
  EADDRINUSE: "conflict",
  EEXIST: "alreadyExists",
  EBUSY: "conflict",
  EPERM: "permissionDenied",
  EACCES: "permissionDenied",
  EINVAL: "invalidArgument",
  ENOSPC: "resourceExhausted",
  EMFILE: "resourceExhausted",
  ENOMEM: "resourceExhausted",
  EDQUOT: "resourceExhausted",
  ENOSYS: "notImplemented",
  EOPNOTSUPP: "notImplemented",
};

/** Throws a BerthError that names `what` and the errno when `result` is negative; else returns `result`. */
export function checked(result: number, what: string): number {
  if (result >= 0) return result;
  throw errnoError(errno(), what);
}

export function errnoError(number: number, what: string): BerthError {
  const name = errnoName(number);
  return new BerthError(CODES[name] ?? internal("").code, `${what}: ${name}`, { details: { errno: name } });
}

export function errnoName(number: number): string {
  const table = load().koffi.os.errno as Record<string, number>;
  return Object.keys(table).find((name) => table[name] === number) ?? `errno ${number}`;
}
