import { BerthError, codeOf, messageOf, type ErrorCode } from "../../base/index.ts";
import type { Status, StatusCause } from "../../api/index.ts";
import type { FieldError } from "./kind.ts";

/** Upstream's reasons and codes (apimachinery/pkg/api/errors) for each of our error codes. */
const BY_CODE: Record<ErrorCode, readonly [number, string]> = {
  notFound: [404, "NotFound"],
  alreadyExists: [409, "AlreadyExists"],
  conflict: [409, "Conflict"],
  invalidArgument: [400, "BadRequest"],
  failedPrecondition: [409, "Conflict"],
  permissionDenied: [403, "Forbidden"],
  unauthenticated: [401, "Unauthorized"],
  resourceExhausted: [429, "TooManyRequests"],
  unavailable: [503, "ServiceUnavailable"],
  notImplemented: [501, "NotImplemented"],
  deadlineExceeded: [504, "Timeout"],
  canceled: [499, "Canceled"],
  internal: [500, "InternalError"],
};

export interface GroupResource {
  readonly group: string;
  readonly plural: string;
}
export interface GroupKind {
  readonly group: string;
  readonly kind: string;
}

const qualified = (group: string, name: string) => (group === "" ? name : `${name}.${group}`);

/** A BerthError that carries the very Status to answer with. */
export function statusError(code: ErrorCode, status: Status): BerthError {
  const [httpCode, reason] = BY_CODE[code];
  return new BerthError(code, status.message ?? reason, { details: { status: { code: httpCode, reason, ...status } } });
}

export function notFoundError({ group, plural }: GroupResource, name: string): BerthError {
  return statusError("notFound", {
    message: `${qualified(group, plural)} "${name}" not found`,
    details: { name, group: group || undefined, kind: plural },
  });
}

export function alreadyExistsError({ group, plural }: GroupResource, name: string): BerthError {
  return statusError("alreadyExists", {
    message: `${qualified(group, plural)} "${name}" already exists`,
    details: { name, group: group || undefined, kind: plural },
  });
}

const MODIFIED = "the object has been modified; please apply your changes to the latest version and try again";

export function conflictError({ group, plural }: GroupResource, name: string, why = MODIFIED): BerthError {
  return statusError("conflict", {
    message: `Operation cannot be fulfilled on ${qualified(group, plural)} "${name}": ${why}`,
    details: { name, group: group || undefined, kind: plural },
  });
}

export function forbiddenError({ group, plural }: GroupResource, name: string, why: string): BerthError {
  const subject = name === "" ? "" : ` "${name}"`;
  return statusError("permissionDenied", {
    message: `${qualified(group, plural)}${subject} is forbidden: ${why}`,
    details: { name: name || undefined, group: group || undefined, kind: plural },
  });
}

export function badRequestError(message: string): BerthError {
  return statusError("invalidArgument", { message });
}

export function methodNotAllowedError(verb: string): BerthError {
  return statusError("notImplemented", {
    code: 405,
    reason: "MethodNotAllowed",
    message: `${verb} is not supported on resources of this type`,
    details: {},
  });
}

export function unknownPathError(): BerthError {
  return statusError("notFound", { message: "the server could not find the requested resource", details: {} });
}

export function unsupportedMediaTypeError(accepted: readonly string[]): BerthError {
  return statusError("invalidArgument", {
    code: 415,
    reason: "UnsupportedMediaType",
    message: `the body of the request was in an unknown format - accepted media types include: ${accepted.join(", ")}`,
  });
}

export function notAcceptableError(accepted: readonly string[]): BerthError {
  return statusError("invalidArgument", {
    code: 406,
    reason: "NotAcceptable",
    message: `only the following media types are accepted: ${accepted.join(", ")}`,
  });
}

export function tooLargeError(limitBytes: number): BerthError {
  return statusError("invalidArgument", {
    code: 413,
    reason: "RequestEntityTooLarge",
    message: `Request entity too large: limit is ${limitBytes}`,
  });
}

export function expiredError(message: string, continueToken?: string): BerthError {
  return statusError("resourceExhausted", {
    code: 410,
    reason: "Expired",
    message,
    metadata: continueToken === undefined ? {} : { continue: continueToken },
  });
}

export function tooLargeRevisionError(asked: number, current: number, retryAfterSeconds = 1): BerthError {
  return statusError("deadlineExceeded", {
    message: `Too large resource version: ${asked}, current: ${current}`,
    details: {
      retryAfterSeconds,
      causes: [{ reason: "ResourceVersionTooLarge", message: "Too large resource version" }],
    },
  });
}

/** 422. One error stands alone, several in brackets, as upstream's aggregate prints them. */
export function invalidError({ group, kind }: GroupKind, name: string, errors: readonly FieldError[]): BerthError {
  const causes: StatusCause[] = errors.map(({ type, field, detail }) => ({ reason: type, message: detail, field }));
  const lines = [...new Set(errors.map(({ field, detail }) => `${field}: ${detail}`))];
  const text = lines.length === 1 ? lines[0] : `[${lines.join(", ")}]`;
  return statusError("invalidArgument", {
    code: 422,
    reason: "Invalid",
    message: `${qualified(group, kind)} "${name}" is invalid: ${text}`,
    details: { name, group: group || undefined, kind, causes },
  });
}

/** The Status for anything thrown. Unknown errors don't leak their text. */
export function statusOf(error: unknown): Status & { code: number } {
  const base = { kind: "Status", apiVersion: "v1", metadata: {}, status: "Failure" } as const;
  const code = codeOf(error);
  const [httpCode, reason] = BY_CODE[code];
  if (!(error instanceof BerthError))
    return { ...base, message: `Internal error occurred: ${messageOf(error)}`, reason, code: httpCode };
  const given = error.details["status"] as Status | undefined;
  if (given) return { ...base, ...given, code: given.code ?? httpCode };
  const retryAfterSeconds = error.details["retryAfterSeconds"] as number | undefined;
  const causes = error.details["causes"] as StatusCause[] | undefined;
  const details = retryAfterSeconds || causes ? { retryAfterSeconds, causes } : undefined;
  return { ...base, message: error.message, reason, details, code: httpCode };
}
