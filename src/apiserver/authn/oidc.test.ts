import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { exportJWK, SignJWT } from "jose";
import type { ApiRequest } from "../../api/index.ts";
import { FakeClock, systemClock } from "../../base/index.ts";
import { CertificateAuthority } from "../certificates/authority.ts";
import { openAuthenticationConfiguration } from "./configuration.ts";
import { OidcUsers } from "./oidc.ts";
import type { OidcOptions } from "./oidc.ts";

const nowMs = systemClock.nowMs();
const newKey = () => generateKeyPairSync("rsa", { modulusLength: 2048 });
const first = newKey();
const second = newKey();
let published = [{ kid: "1", key: first.publicKey }];
let fetches = 0;
let issuerUrl: string;
let folder: string;
let close: () => void;

before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "berth-oidc-"));
  const authority = CertificateAuthority.create("provider", nowMs);
  const times = { notBeforeMs: nowMs, notAfterMs: nowMs + 3_600_000 };
  const pair = authority.issue({ subject: { commonName: "p" }, usages: ["server"], names: ["localhost"], ...times });
  await writeFile(path.join(folder, "ca.crt"), authority.pair.cert);
  const server = createServer(pair, async (request, response) => {
    if (request.url !== "/keys")
      return response.end(JSON.stringify({ issuer: issuerUrl, jwks_uri: `${issuerUrl}/keys` }));
    fetches++;
    const keys = await Promise.all(
      published.map(async ({ kid, key }) => ({ ...(await exportJWK(key)), kid, alg: "RS256" })),
    );
    return response.end(JSON.stringify({ keys }));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  issuerUrl = `https://localhost:${(server.address() as AddressInfo).port}`;
  close = () => server.close();
});
after(async () => {
  close();
  await rm(folder, { recursive: true, force: true });
});

const clock = new FakeClock(nowMs);
const users = (options: Partial<OidcOptions> = {}) =>
  new OidcUsers({ issuerUrl, clientId: "berth", caFile: path.join(folder, "ca.crt"), ...options }, clock);

interface Minted {
  readonly kid?: string;
  readonly key?: KeyObject;
  readonly audience?: string;
  readonly expiresInS?: number;
}
async function bearing(claims: Record<string, unknown>, minted: Minted = {}): Promise<ApiRequest> {
  const { kid = "1", key = first.privateKey, audience = "berth", expiresInS = 60 } = minted;
  const token = await new SignJWT({ sub: "7", ...claims })
    .setProtectedHeader({ alg: "RS256", kid })
    .setIssuer((claims["iss"] as string | undefined) ?? issuerUrl)
    .setAudience(audience)
    .setExpirationTime(Math.floor(clock.nowMs() / 1000) + expiresInS)
    .sign(key);
  return { method: "GET", path: "/", query: new URLSearchParams(), headers: { authorization: `Bearer ${token}` } };
}

test("OIDC: names and groups come from the claims that were chosen, with their prefixes", async () => {
  assert.deepEqual(await users().authenticate(await bearing({})), { name: `${issuerUrl}#7`, groups: [] });
  const options = { usernameClaim: "email", groupsClaim: "teams", groupsPrefix: "oidc:" };
  const user = await users(options).authenticate(await bearing({ email: "ann@example.com", teams: ["a", "b"] }));
  assert.deepEqual(user, { name: "ann@example.com", groups: ["oidc:a", "oidc:b"] });
  const plain = users({ usernamePrefix: "-", groupsClaim: "team" });
  assert.deepEqual(await plain.authenticate(await bearing({ team: "one" })), { name: "7", groups: ["one"] });
});

test("OIDC: other people's tokens are left to others, bad ones are refused", async () => {
  assert.equal(await users().authenticate(await bearing({ iss: "https://elsewhere.example" })), undefined);
  const rows: [Record<string, unknown>, Minted, Partial<OidcOptions>?][] = [
    [{}, { audience: "other" }],
    [{}, { expiresInS: -10 }],
    [{}, { key: second.privateKey }],
    [{ email: "a@b.c", email_verified: false }, {}, { usernameClaim: "email" }],
    [{}, {}, { usernameClaim: "nickname" }],
    [{ hd: "other.example" }, {}, { requiredClaims: { hd: "example.com" } }],
    [{}, {}, { signingAlgs: ["ES256"] }],
  ];
  for (const [claims, minted, options] of rows)
    await assert.rejects(users(options).authenticate(await bearing(claims, minted)), /Unauthorized/);
  assert.throws(() => users({ issuerUrl: "http://x" }), /invalid scheme, require 'https'/);
});

test("OIDC: keys are kept, and asked for again when a token has a new one", async () => {
  const one = users();
  const before = fetches;
  await one.authenticate(await bearing({}));
  await one.authenticate(await bearing({}));
  assert.equal(fetches, before + 1);
  published = [{ kid: "2", key: second.publicKey }];
  await clock.advance(20_000);
  const changed = await one.authenticate(await bearing({}, { kid: "2", key: second.privateKey }));
  assert.equal(changed?.name, `${issuerUrl}#7`);
  assert.equal(fetches, before + 2);
  await assert.rejects(one.authenticate(await bearing({})), /Unauthorized/);
  assert.equal(fetches, before + 2, "an unknown key asks no more often than every ten seconds");
});

test("the structured file: claims by CEL, rules, several audiences, and no anonymous callers but for health", async () => {
  published = [{ kid: "1", key: first.publicKey }];
  const file = path.join(folder, "authentication.yaml");
  const ca = (await readFile(path.join(folder, "ca.crt"), "utf8")).replaceAll("\n", "\n        ");
  const write = (more: string, prefix = 'prefix: "x:"') =>
    writeFile(
      file,
      `apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
anonymous: { enabled: true, conditions: [{ path: /livez }] }
jwt:
- issuer:
    url: ${issuerUrl}
    audiences: [berth, other]
    audienceMatchPolicy: MatchAny
    certificateAuthority: |
        ${ca}
  claimMappings:
    username: { claim: sub, ${prefix} }
    groups: { expression: "claims.roles.split(',')" }
    uid: { claim: id }
    extra: [{ key: example.com/tenant, valueExpression: claims.tenant }]
  userValidationRules: [{ expression: "!user.username.startsWith('x:system:')", message: reserved }]
${more}
`,
    );
  await write("  claimValidationRules: [{ expression: claims.tenant != 'banned', message: banned }]");
  const [jwt, anonymous] = await openAuthenticationConfiguration(file, clock);
  const claims = { roles: "a,b", id: "9", tenant: "t" };
  assert.deepEqual(await jwt!.authenticate(await bearing(claims, { audience: "other" })), {
    name: "x:7",
    groups: ["a", "b"],
    uid: "9",
    extra: { "example.com/tenant": ["t"] },
  });
  await assert.rejects(async () => jwt!.authenticate(await bearing({ ...claims, tenant: "banned" })), /Unauthorized/);
  await assert.rejects(async () => jwt!.authenticate(await bearing({ ...claims, sub: "system:x" })), /Unauthorized/);
  const bare = (at: string): ApiRequest => ({ method: "GET", path: at, query: new URLSearchParams(), headers: {} });
  assert.equal(await anonymous!.authenticate(bare("/livez")), undefined);
  await assert.rejects(async () => anonymous!.authenticate(bare("/api")), /Unauthorized/);
  await write("", "");
  await assert.rejects(openAuthenticationConfiguration(file, clock), /username.prefix: Required value/);
  await write("  claimValidationRules: [{ expression: 1 + }]");
  await assert.rejects(
    openAuthenticationConfiguration(file, clock),
    /claimValidationRules\[0\].expression: Invalid value/,
  );
});
