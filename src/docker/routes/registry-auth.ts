import type { IncomingHttpHeaders } from "node:http";
import type { RegistryAuth } from "../../engine/index.ts";

/** The X-Registry-Auth header: base64url of a JSON object. As in dockerd, one that can't be read counts as none. */
export function registryAuth(headers: IncomingHttpHeaders): RegistryAuth | undefined {
  const header = headers["x-registry-auth"];
  if (typeof header !== "string" || header === "") return undefined;
  try {
    const value: unknown = JSON.parse(Buffer.from(header, "base64url").toString("utf8"));
    return typeof value === "object" && value !== null && Object.keys(value).length > 0
      ? (value as RegistryAuth)
      : undefined;
  } catch {
    return undefined;
  }
}
