import { createHash, createPublicKey, sign, verify } from "node:crypto";
import type { KeyObject } from "node:crypto";

/** Compact JSON Web Signatures (RFC 7515) with ES256, the only algorithm that berth signs with. */
export interface SigningKey {
  readonly id: string;
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");

export function signingKeyOf(privateKey: KeyObject): SigningKey {
  const publicKey = createPublicKey(privateKey);
  const id = createHash("sha256")
    .update(publicKey.export({ type: "spki", format: "der" }))
    .digest("base64url");
  return { id, privateKey, publicKey };
}

export function signJwt(claims: object, key: SigningKey): string {
  const body = `${encode({ alg: "ES256", kid: key.id })}.${encode(claims)}`;
  const signature = sign("sha256", Buffer.from(body), { key: key.privateKey, dsaEncoding: "ieee-p1363" });
  return `${body}.${signature.toString("base64url")}`;
}

/** The claims, not yet verified, of what has the form of a JWT; undefined for anything else. */
export function peekJwt(token: string): Record<string, unknown> | undefined {
  const parts = token.split(".");
  if (parts.length !== 3) return undefined;
  try {
    const claims: unknown = JSON.parse(Buffer.from(parts[1]!, "base64url").toString());
    return typeof claims === "object" && claims !== null ? (claims as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** The claims when the signature is one of the keys'. Times are the caller's to check. */
export function verifyJwt(token: string, keys: readonly SigningKey[]): Record<string, unknown> | undefined {
  const [header = "", payload = "", signature = ""] = token.split(".");
  const head = parseJson(header) as { alg?: unknown; kid?: unknown } | undefined;
  if (head?.alg !== "ES256") return undefined;
  const body = Buffer.from(`${header}.${payload}`);
  const bytes = Buffer.from(signature, "base64url");
  const candidates = keys.filter(({ id }) => head.kid === undefined || head.kid === id);
  const good = candidates.some(({ publicKey }) =>
    verify("sha256", body, { key: publicKey, dsaEncoding: "ieee-p1363" }, bytes),
  );
  return good ? peekJwt(token) : undefined;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(Buffer.from(text, "base64url").toString());
  } catch {
    return undefined;
  }
}
