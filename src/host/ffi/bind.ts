import { BerthError } from "../../base/index.ts";
import { errno, errnoError, libc } from "./libc.ts";

/** A function of the C library that returns an int or long; bound on its first call. The caller looks at the result. */
export function bind(prototype: string): (...args: unknown[]) => number {
  let bound: ReturnType<typeof libc> | undefined;
  return (...args) => (bound ??= libc(prototype))(...args);
}

/** The same, throwing a BerthError that names the call for a negative result. */
export function bindChecked(prototype: string): (...args: unknown[]) => number {
  const call = bind(prototype);
  const name = /(\w+)\s*\(/.exec(prototype)?.[1] ?? prototype;
  return (...args) => {
    const result = call(...args);
    if (result < 0) throw errnoError(errno(), name);
    return result;
  };
}

/** The errno name that `errnoError` put into an error; undefined for any other. */
export function systemErrno(error: unknown): string | undefined {
  const name = error instanceof BerthError ? error.details["errno"] : undefined;
  return typeof name === "string" ? name : undefined;
}
