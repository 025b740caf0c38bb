import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLogger } from "../../../base/index.ts";
import { apiServerOptions, auditBackends, etcdOptions } from "./api-server-flags.ts";

test("flags of the API server, by upstream's names", () => {
  assert.deepEqual(apiServerOptions({}), {
    tokenAuthFile: undefined,
    serviceAccountIssuer: undefined,
    disabledAdmissionPlugins: undefined,
    oidc: undefined,
    authenticationConfigFile: undefined,
    webhookTokens: undefined,
    authorization: { modes: undefined, configFile: undefined, webhook: undefined },
  });
  const { oidc, tokenAuthFile } = apiServerOptions({
    "token-auth-file": "/etc/tokens",
    "oidc-issuer-url": "https://id.example.com",
    "oidc-client-id": "berth",
    "oidc-required-claim": "hd=example.com,tier=1",
    "oidc-signing-algs": "RS256,ES256",
  });
  assert.equal(tokenAuthFile, "/etc/tokens");
  const { disabledAdmissionPlugins } = apiServerOptions({ "disable-admission-plugins": "LimitRanger, PodSecurity" });
  assert.deepEqual(disabledAdmissionPlugins, ["LimitRanger", "PodSecurity"]);
  assert.deepEqual(oidc?.requiredClaims, { hd: "example.com", tier: "1" });
  assert.deepEqual(oidc.signingAlgs, ["RS256", "ES256"]);
});

test("flags that are unknown or half given are refused by name", () => {
  assert.throws(() => apiServerOptions({ "etcd-prefix": "x" }), /unknown key "etcd-prefix" in "api-server"/);
  assert.throws(() => apiServerOptions({ "oidc-client-id": "x" }), /must be specified together/);
});

test("webhooks for tokens and for what their bearers may do, by upstream's names", () => {
  const { webhookTokens, authorization } = apiServerOptions({
    "authentication-token-webhook-config-file": "/t",
    "authentication-token-webhook-cache-ttl": "1m30s",
    "authorization-mode": "Node, RBAC,Webhook",
    "authorization-webhook-config-file": "/a",
    "authorization-webhook-version": "v1",
  });
  assert.deepEqual(webhookTokens, { configFile: "/t", version: undefined, cacheMs: 90_000 });
  assert.deepEqual(authorization?.modes, ["Node", "RBAC", "Webhook"]);
  assert.equal(authorization.webhook?.version, "v1");
  assert.throws(
    () =>
      apiServerOptions({
        "authentication-token-webhook-config-file": "/t",
        "authentication-token-webhook-cache-ttl": "soon",
      }),
    /"soon" is not a duration/,
  );
  assert.throws(
    () => apiServerOptions({ "authentication-config": "/c", "oidc-client-id": "x", "oidc-issuer-url": "https://x" }),
    /mutually exclusive/,
  );
});

test("etcd instead of this machine's file", () => {
  assert.equal(etcdOptions({}), undefined);
  assert.deepEqual(etcdOptions({ "etcd-servers": "http://a:2379, http://b:2379" }), {
    endpoints: ["http://a:2379", "http://b:2379"],
  });
  const tls = (flags: object) => () => etcdOptions({ "etcd-servers": "https://a:2379", ...flags });
  const self = import.meta.filename;
  assert.equal(typeof tls({ "etcd-cafile": self })()?.tls?.ca, "string");
  assert.throws(tls({ "etcd-certfile": self }), /"etcd-certfile" and "etcd-keyfile" must be specified together/);
  assert.throws(tls({ "etcd-cafile": "/nowhere" }), /"etcd-cafile" in "api-server": ENOENT/);
  assert.throws(() => etcdOptions({ "etcd-servers": "a:2379" }), /"a:2379" is not a URL/);
  assert.throws(() => etcdOptions({ "etcd-cafile": self }), /needs "etcd-servers"/);
});

test("where audit events go", () => {
  assert.deepEqual(auditBackends({}, silentLogger), { log: undefined, policyFile: undefined, webhook: undefined });
  const flags = { "audit-policy-file": "/p", "audit-webhook-config-file": "/w", "audit-webhook-batch-max-wait": "5s" };
  assert.deepEqual(auditBackends(flags, silentLogger), {
    log: undefined,
    policyFile: "/p",
    webhook: { configFile: "/w", bufferSize: 10_000, maxBatchSize: 400, maxWaitMs: 5_000, backoffMs: 10_000 },
  });
  assert.throws(
    () => auditBackends({ ...flags, "audit-webhook-batch-max-size": "many" }, silentLogger),
    /"audit-webhook-batch-max-size" in "api-server" must be a number from 1 on/,
  );
});
