import type { ServerResponse } from "node:http";
import type { RegistryErrorCode } from "../../../api/index.ts";
import { codeOf, messageOf, type ErrorCode } from "../../../base/index.ts";

/** A refusal in the words of the OCI distribution specification. */
export class Refusal extends Error {
  readonly status: number;
  readonly code: RegistryErrorCode;
  constructor(status: number, code: RegistryErrorCode, message: string) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

const FORMS: Partial<Record<ErrorCode, readonly [number, RegistryErrorCode]>> = {
  invalidArgument: [400, "DIGEST_INVALID"],
  notFound: [404, "BLOB_UNKNOWN"],
  conflict: [409, "BLOB_UPLOAD_INVALID"],
  resourceExhausted: [507, "UNKNOWN"],
  unavailable: [502, "UNKNOWN"],
};

export function sendError(response: ServerResponse, error: unknown): void {
  const [status, code] =
    error instanceof Refusal ? [error.status, error.code] : (FORMS[codeOf(error)] ?? [500, "UNKNOWN" as const]);
  if (response.headersSent) return void response.destroy();
  sendJson(response, status, { errors: [{ code, message: messageOf(error) }] });
}

export function sendJson(
  response: ServerResponse,
  status: number,
  value: unknown,
  headers: Record<string, string> = {},
): void {
  sendBytes(response, status, Buffer.from(JSON.stringify(value)), { "content-type": "application/json", ...headers });
}

export function sendBytes(
  response: ServerResponse,
  status: number,
  bytes: Buffer,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { ...headers, "content-length": String(bytes.byteLength) });
  response.end(bytes);
}

export function sendEmpty(response: ServerResponse, status: number, headers: Record<string, string> = {}): void {
  response.writeHead(status, { "content-length": "0", ...headers });
  response.end();
}
