import assert from "node:assert/strict";
import { generateKeyPairSync, X509Certificate } from "node:crypto";
import { test } from "node:test";

import type { ApiRequest } from "../../api/index.ts";
import { FakeClock } from "../../base/index.ts";
import { CertificateAuthority } from "../certificates/authority.ts";
import type { ClusterState } from "../cluster-state.ts";
import { bearerToken } from "./bearer.ts";
import { BootstrapTokens } from "./bootstrap-tokens.ts";
import { ClientCertificates } from "./client-certificates.ts";
import { signingKeyOf, signJwt, verifyJwt } from "./jwt.ts";
import { StaticTokens } from "./static-tokens.ts";

const nowMs = Date.parse("2026-01-01T00:00:00Z");
const request = (headers: Record<string, string>, more: object = {}): ApiRequest => ({
  method: "GET",
  path: "/",
  query: new URLSearchParams(),
  headers,
  ...more,
});
const bearer = (token: string) => request({ authorization: `Bearer ${token}` });

test("a client certificate of the cluster names user and groups; others, servers' and expired ones are refused", async () => {
  const authority = CertificateAuthority.create("ca", nowMs);
  const clock = new FakeClock(nowMs);
  const authenticator = new ClientCertificates([authority.pair.cert], clock);
  const issue = (from: CertificateAuthority, usages: ("server" | "client")[]) => {
    const { cert } = from.issue({
      subject: { commonName: "jane", organizations: ["dev", "ops"] },
      usages,
      notBeforeMs: nowMs,
      notAfterMs: nowMs + 1000,
    });
    return request({}, { peerCertificates: [new X509Certificate(cert).raw] });
  };
  const good = issue(authority, ["client"]);
  const user = authenticator.authenticate(good);
  assert.equal(user?.name, "jane");
  assert.deepEqual(user?.groups, ["dev", "ops"]);
  assert.equal(authenticator.authenticate(request({})), undefined);
  assert.throws(() => authenticator.authenticate(issue(authority, ["server"])), /Unauthorized/);
  assert.throws(
    () => authenticator.authenticate(issue(CertificateAuthority.create("ca", nowMs), ["client"])),
    /Unauthorized/,
  );
  await clock.advance(2000);
  assert.throws(() => authenticator.authenticate(good), /Unauthorized/);
});

test("the static token file in upstream's format", () => {
  const tokens = new StaticTokens('s3cret,jane,7,"dev,ops"\n# comment\nother,joe,8\n');
  assert.deepEqual(tokens.authenticate(bearer("s3cret")), { name: "jane", uid: "7", groups: ["dev", "ops"] });
  assert.deepEqual(tokens.authenticate(bearer("other"))?.groups, []);
  assert.equal(tokens.authenticate(bearer("nobody")), undefined);
  assert.throws(() => new StaticTokens("only-a-token"), /too few columns/);
});

test("bearer tokens come by header, or by a WebSocket's subprotocol", () => {
  assert.equal(bearerToken(bearer("abc")), "abc");
  const encoded = Buffer.from("abc").toString("base64url");
  const header = `base64url.bearer.authorization.k8s.io.${encoded}, v5.channel.k8s.io`;
  assert.equal(bearerToken(request({ "sec-websocket-protocol": header })), "abc");
  assert.equal(bearerToken(request({ authorization: "Basic abc" })), undefined);
});

test("a token is only as good as its signature and algorithm", () => {
  const key = signingKeyOf(generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey);
  const other = signingKeyOf(generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey);
  const token = signJwt({ sub: "a" }, key);
  assert.deepEqual(verifyJwt(token, [key]), { sub: "a" });
  assert.equal(verifyJwt(token, [other]), undefined);
  const [header = "", , signature = ""] = token.split(".");
  const forged = Buffer.from(JSON.stringify({ sub: "b" })).toString("base64url");
  assert.equal(verifyJwt(`${header}.${forged}.${signature}`, [key]), undefined);
  const none = Buffer.from(JSON.stringify({ alg: "none" })).toString("base64url");
  assert.equal(verifyJwt(`${none}.${forged}.`, [key]), undefined);
});

test("bootstrap tokens: the right secret, for authentication, in time", async () => {
  const encode = (fields: Record<string, string>) =>
    Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, Buffer.from(value).toString("base64")]));
  const fields = {
    "token-id": "abcdef",
    "token-secret": "0123456789abcdef",
    "usage-bootstrap-authentication": "true",
    "auth-extra-groups": "system:bootstrappers:workers,system:masters",
  };
  const authenticate = (change: Record<string, string>, token = "abcdef.0123456789abcdef") => {
    const secret = { type: "bootstrap.kubernetes.io/token", metadata: {}, data: encode({ ...fields, ...change }) };
    const secrets = { ready: () => Promise.resolve(new Map([["kube-system/bootstrap-token-abcdef", secret]])) };
    return new BootstrapTokens({ secrets } as unknown as ClusterState, new FakeClock(nowMs)).authenticate(
      bearer(token),
    );
  };
  assert.deepEqual(await authenticate({}), {
    name: "system:bootstrap:abcdef",
    groups: ["system:bootstrappers", "system:bootstrappers:workers"],
  });
  assert.equal(await authenticate({}, "abcdef.0123456789abcdee"), undefined);
  assert.equal(await authenticate({ "usage-bootstrap-authentication": "false" }), undefined);
  assert.equal(await authenticate({ expiration: "2025-01-01T00:00:00Z" }), undefined);
});
