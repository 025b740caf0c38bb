import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import type { ApiRequest } from "../../api/index.ts";
import { createLogger, FakeClock, systemClock } from "../../base/index.ts";
import { createAuthorizers } from "../authz/index.ts";
import { CertificateAuthority } from "../certificates/authority.ts";
import type { ClusterState } from "../cluster-state.ts";
import type { AuthorizationAttributes } from "../machinery/pipeline.ts";
import { WebhookTokens } from "./webhook-tokens.ts";

const log = createLogger({ write: () => {} });
const clock = new FakeClock(systemClock.nowMs());
const asked: Record<string, never>[] = [];
let answer: object = {};
let status = 200;
let folder: string;
let kubeconfig: string;
let close: () => void;

before(async () => {
  const nowMs = systemClock.nowMs();
  folder = await mkdtemp(path.join(tmpdir(), "berth-webhooks-"));
  const authority = CertificateAuthority.create("service", nowMs);
  const times = { notBeforeMs: nowMs - 60_000, notAfterMs: nowMs + 3_600_000 };
  const pair = authority.issue({ subject: { commonName: "w" }, usages: ["server"], names: ["localhost"], ...times });
  await writeFile(path.join(folder, "ca.crt"), authority.pair.cert);
  const server = createServer(pair, (request, response) => {
    let body = "";
    request.on("data", (chunk: Buffer) => (body += chunk.toString()));
    request.on("end", () => {
      asked.push({ ...JSON.parse(body), authorization: request.headers.authorization });
      response.statusCode = status;
      response.end(JSON.stringify({ status: answer }));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  kubeconfig = path.join(folder, "webhook.yaml");
  await writeFile(
    kubeconfig,
    `apiVersion: v1
kind: Config
clusters:
- name: service
  cluster: { certificate-authority: ca.crt, server: "https://localhost:${(server.address() as AddressInfo).port}/review" }
users:
- name: berth
  user: { token: ours }
current-context: it
contexts:
- { name: it, context: { cluster: service, user: berth } }
`,
  );
  close = () => server.close();
});
after(async () => {
  close();
  await rm(folder, { recursive: true, force: true });
});

const bearing = (token: string): ApiRequest => ({
  method: "GET",
  path: "/",
  query: new URLSearchParams(),
  headers: { authorization: `Bearer ${token}` },
});

test("a token is reviewed by the service over TLS, and its answer kept for a while", async () => {
  const tokens = await WebhookTokens.open({ configFile: kubeconfig, version: "v1", cacheMs: 10_000 }, clock, log);
  answer = { authenticated: true, user: { username: "ann", groups: ["dev"], uid: "7", extra: { a: ["b"] } } };
  const ann = { name: "ann", groups: ["dev"], uid: "7", extra: { a: ["b"] } };
  asked.length = 0;
  assert.deepEqual(await tokens.authenticate(bearing("t")), ann);
  assert.deepEqual(asked, [
    {
      apiVersion: "authentication.k8s.io/v1",
      kind: "TokenReview",
      spec: { token: "t" },
      authorization: "Bearer ours",
    },
  ]);
  answer = { authenticated: false };
  assert.deepEqual(await tokens.authenticate(bearing("t")), ann, "kept");
  await clock.advance(11_000);
  assert.equal(await tokens.authenticate(bearing("t")), undefined);
  assert.equal(asked.length, 2);
});

test("a service that fails vouches for nobody, and is asked again", async () => {
  const tokens = await WebhookTokens.open({ configFile: kubeconfig }, clock, log);
  status = 500;
  assert.equal(await tokens.authenticate(bearing("u")), undefined);
  status = 200;
  answer = { authenticated: true, user: { username: "bob" } };
  assert.equal((await tokens.authenticate(bearing("u")))?.name, "bob");
  await assert.rejects(WebhookTokens.open({ configFile: "/nowhere" }, clock, log), /ENOENT/);
});

const attributes = (more: Partial<AuthorizationAttributes> = {}): AuthorizationAttributes =>
  ({
    user: { name: "ann", groups: ["dev"] },
    isResource: true,
    verb: "get",
    group: "apps",
    version: "v1",
    resource: "deployments",
    subresource: "",
    namespace: "default",
    name: "web",
    path: "/x",
    ...more,
  }) as AuthorizationAttributes;
const state = { roleBindings: {}, clusterRoleBindings: {} } as unknown as ClusterState;

test("an authorizer outside allows, denies and is not asked twice", async () => {
  const webhook = { configFile: kubeconfig, version: "v1" as const };
  const chain = await createAuthorizers({ state, clock, log }, { modes: ["Webhook", "AlwaysDeny"], webhook });
  const [, remote] = chain.authorizers;
  answer = { allowed: true };
  asked.length = 0;
  assert.equal((await remote!.authorize(attributes())).allowed, true);
  assert.equal((await remote!.authorize(attributes())).allowed, true);
  assert.deepEqual(
    asked.map(({ spec }) => spec),
    [
      {
        user: "ann",
        groups: ["dev"],
        resourceAttributes: {
          namespace: "default",
          verb: "get",
          group: "apps",
          version: "v1",
          resource: "deployments",
          name: "web",
        },
      },
    ],
  );
  answer = { allowed: false, denied: true, reason: "no" };
  const other = attributes({ verb: "delete" });
  assert.deepEqual(await remote!.authorize(other), { allowed: false, denied: true, reason: "no" });
  assert.equal((await chain.authorizers.at(-1)!.authorize(other)).reason, "Everything is forbidden.");
});

test("the structured file: match conditions, what a failure means, and what is wrong with it", async () => {
  const file = path.join(folder, "authorization.yaml");
  const configuration = (more: string) => `apiVersion: apiserver.config.k8s.io/v1
kind: AuthorizationConfiguration
authorizers:
- type: Webhook
  name: outside
  webhook:
    authorizedTTL: 1m30s
    unauthorizedTTL: 30s
    timeout: 3s
    subjectAccessReviewVersion: v1
    connectionInfo: { type: KubeConfigFile, kubeConfigFile: "${kubeconfig}" }
${more}
- type: RBAC
`;
  const open = async (more: string) => {
    await writeFile(file, configuration(more));
    return (await createAuthorizers({ state, clock, log }, { configFile: file })).authorizers[1]!;
  };
  const remote = await open(
    `    failurePolicy: Deny
    matchConditions:
    - expression: has(request.resourceAttributes) && request.resourceAttributes.namespace == 'default'`,
  );
  answer = { allowed: true };
  assert.equal((await remote.authorize(attributes({ namespace: "other" }))).allowed, false, "not asked");
  assert.equal((await remote.authorize(attributes())).allowed, true);
  status = 500;
  const failed = await remote.authorize(attributes({ name: "new" }));
  assert.equal(failed.denied, true);
  status = 200;
  await assert.rejects(open(""), /failurePolicy: Required value/);
  await assert.rejects(
    open("    failurePolicy: Deny\n    matchConditions: [{ expression: '1 +' }]"),
    /match condition/,
  );
  await assert.rejects(
    createAuthorizers({ state, clock, log }, { configFile: file, modes: ["RBAC"] }),
    /can not be specified when/,
  );
});
