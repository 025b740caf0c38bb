import type { ServiceAccountTokens } from "../authn/service-account-tokens.ts";
import type { Fallback } from "../machinery/pipeline.ts";

/** OpenID discovery of the service-account issuer, for whoever verifies its tokens elsewhere. */
export function issuerDiscovery(tokens: ServiceAccountTokens): Fallback {
  return ({ request, info }) => {
    if (info.verb !== "get" || request.method !== "GET") return undefined;
    if (request.path === "/.well-known/openid-configuration") return answer(tokens.discovery(), "application/json");
    if (request.path === "/openid/v1/jwks") return answer(tokens.jwks(), "application/jwk-set+json");
    return undefined;
  };
}

const answer = (object: object, type: string) => ({
  status: 200,
  headers: { "content-type": type, "cache-control": "public, max-age=3600" },
  body: Buffer.from(JSON.stringify(object)),
  object,
});
