import assert from "node:assert/strict";
import { test } from "node:test";
import { apiServerOptions } from "./api-server-flags.ts";

test("flags of the API server, by upstream's names", () => {
  assert.deepEqual(apiServerOptions({}), {
    tokenAuthFile: undefined,
    serviceAccountIssuer: undefined,
    oidc: undefined,
  });
  const { oidc, tokenAuthFile } = apiServerOptions({
    "token-auth-file": "/etc/tokens",
    "oidc-issuer-url": "https://id.example.com",
    "oidc-client-id": "berth",
    "oidc-required-claim": "hd=example.com,tier=1",
    "oidc-signing-algs": "RS256,ES256",
  });
  assert.equal(tokenAuthFile, "/etc/tokens");
  assert.deepEqual(oidc?.requiredClaims, { hd: "example.com", tier: "1" });
  assert.deepEqual(oidc.signingAlgs, ["RS256", "ES256"]);
});

test("flags that are unknown or half given are refused by name", () => {
  assert.throws(() => apiServerOptions({ "etcd-servers": "x" }), /unknown key "etcd-servers" in "api-server"/);
  assert.throws(() => apiServerOptions({ "oidc-client-id": "x" }), /must be specified together/);
});
