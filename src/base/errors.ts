/**
 * The one closed set of errors. Every room throws `BerthError` with one of these codes, and each wire protocol has one map
 * from code to its own form (HTTP status for Docker, Status reason for Kubernetes, gRPC code for CRI). Nobody matches on
 * message text.
 *
 * The set follows gRPC's canonical codes (https://grpc.io/docs/guides/status-codes/), less those that berth never tells apart.
 */
export type ErrorCode =
  | "notFound"
  | "alreadyExists"
  | "conflict"
  | "invalidArgument"
  | "failedPrecondition"
  | "permissionDenied"
  | "unauthenticated"
  | "resourceExhausted"
  | "unavailable"
  | "notImplemented"
  | "deadlineExceeded"
  | "canceled"
  | "internal";

export interface ErrorOptions {
  readonly cause?: unknown;
  /** Typed facts for the protocol's error body, for example the causes of an invalid Kubernetes object. */
  readonly details?: Readonly<Record<string, unknown>>;
  /** The way out, in one sentence: what the user can do about it. */
  readonly hint?: string;
}

/** An error that a user may see: `message` says what and why; `hint`, where there is one, the way out. */
export class BerthError extends Error {
  override readonly name = "BerthError";
  readonly code: ErrorCode;
  readonly details: Readonly<Record<string, unknown>>;
  readonly hint: string | undefined;

  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.details = options.details ?? {};
    this.hint = options.hint;
  }
}

const maker = (code: ErrorCode) => (message: string, options?: ErrorOptions) => new BerthError(code, message, options);

export const notFound = maker("notFound");
export const alreadyExists = maker("alreadyExists");
export const conflict = maker("conflict");
export const invalidArgument = maker("invalidArgument");
export const failedPrecondition = maker("failedPrecondition");
export const permissionDenied = maker("permissionDenied");
export const unauthenticated = maker("unauthenticated");
export const resourceExhausted = maker("resourceExhausted");
export const unavailable = maker("unavailable");
export const notImplemented = maker("notImplemented");
export const deadlineExceeded = maker("deadlineExceeded");
export const canceled = maker("canceled");
export const internal = maker("internal");

/** The code of anything thrown: a BerthError's own, `canceled` for an abort, `internal` for the rest. */
export function codeOf(error: unknown): ErrorCode {
  if (error instanceof BerthError) return error.code;
  if (error instanceof Error && error.name === "AbortError") return "canceled";
  return "internal";
}

export function hasCode(error: unknown, ...codes: ErrorCode[]): boolean {
  return codes.includes(codeOf(error));
}

/** The errno name (`ENOENT`, …) of a system error, wherever it came from; undefined for anything else. */
export function errnoOf(error: unknown): string | undefined {
  if (typeof error !== "object" || error === null) return undefined;
  const code = (error as { code?: unknown }).code;
  return typeof code === "string" && /^E[A-Z0-9]+$/.test(code) ? code : undefined;
}

/** The message of anything thrown, for a log line or an answer. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Programmer errors only: a broken invariant of ours, never bad input. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new BerthError("internal", `assertion failed: ${message}`);
}
