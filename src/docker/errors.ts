import { codeOf, type ErrorCode } from "../base/index.ts";
import { json, userMessage, type DockerResponse } from "./route.ts";

/** The one map from what went wrong to Docker's status (moby's httpstatus says the same of its error classes). */
const STATUS: Readonly<Record<ErrorCode, number>> = {
  notFound: 404,
  alreadyExists: 409,
  conflict: 409,
  invalidArgument: 400,
  failedPrecondition: 409,
  permissionDenied: 403,
  unauthenticated: 401,
  resourceExhausted: 429,
  unavailable: 503,
  notImplemented: 501,
  deadlineExceeded: 504,
  canceled: 499,
  internal: 500,
};

function statusOf(error: unknown): number {
  return STATUS[codeOf(error)];
}

/** Docker's error body: `{"message":…}`. */
export function errorResponse(error: unknown): DockerResponse {
  return json({ message: userMessage(error) }, statusOf(error));
}
