import type { ApiRequest } from "../../api/index.ts";

/** The bearer token of a request: from the header, or, for a browser's WebSocket, from its subprotocol. */
export function bearerToken(request: ApiRequest): string | undefined {
  const header = request.headers["authorization"];
  if (header !== undefined) return /^bearer\s+(\S+)\s*$/i.exec(header)?.[1];
  const protocols = request.headers["sec-websocket-protocol"]?.split(",").map((item) => item.trim()) ?? [];
  const prefix = "base64url.bearer.authorization.k8s.io.";
  const encoded = protocols.find((item) => item.startsWith(prefix))?.slice(prefix.length);
  return encoded === undefined ? undefined : Buffer.from(encoded, "base64url").toString();
}
