import { BerthError, type ErrorCode } from "../base/index.ts";
import type { Status } from "../api/index.ts";

const BY_REASON: Readonly<Record<string, ErrorCode>> = {
  NotFound: "notFound",
  AlreadyExists: "alreadyExists",
  Conflict: "conflict",
  Invalid: "invalidArgument",
  BadRequest: "invalidArgument",
  Forbidden: "permissionDenied",
  Unauthorized: "unauthenticated",
  Expired: "failedPrecondition",
  Gone: "failedPrecondition",
  TooManyRequests: "resourceExhausted",
  ServiceUnavailable: "unavailable",
  ServerTimeout: "unavailable",
  Timeout: "deadlineExceeded",
  MethodNotAllowed: "notImplemented",
  InternalError: "internal",
};

const BY_CODE: Readonly<Record<number, ErrorCode>> = {
  400: "invalidArgument",
  401: "unauthenticated",
  403: "permissionDenied",
  404: "notFound",
  405: "notImplemented",
  409: "conflict",
  410: "failedPrecondition",
  422: "invalidArgument",
  429: "resourceExhausted",
  503: "unavailable",
  504: "deadlineExceeded",
};

/** The server's refusal as an error; the Status itself is in `details.status`. */
export function errorFromStatus(status: Status, httpStatus = status.code ?? 500): BerthError {
  const code = BY_REASON[status.reason ?? ""] ?? BY_CODE[httpStatus] ?? "internal";
  return new BerthError(code, status.message ?? `the server answered ${httpStatus}`, { details: { status } });
}

function statusOf(error: unknown): Status | undefined {
  return error instanceof BerthError ? (error.details["status"] as Status | undefined) : undefined;
}

/** The version asked for is compacted away: list again. */
export function isExpired(error: unknown): boolean {
  const reason = statusOf(error)?.reason;
  return reason === "Expired" || reason === "Gone";
}

/** Creating in a namespace that is being deleted is refused with this cause; retrying is pointless. */
export function isNamespaceTerminating(error: unknown): boolean {
  return statusOf(error)?.details?.causes?.some((cause) => cause.reason === "NamespaceTerminating") ?? false;
}
