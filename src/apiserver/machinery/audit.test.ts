import assert from "node:assert/strict";
import { test } from "node:test";
import { createAudit } from "./audit.ts";
import { startFixture } from "./testing/fixture.ts";

interface Written {
  readonly verb: string;
  readonly user: { readonly username: string };
  readonly objectRef: object;
  readonly requestObject?: { readonly metadata: { readonly name: string } };
  readonly responseStatus: { readonly code: number };
}

const MAPS = "/api/v1/namespaces/default/configmaps";

test("a request leaves an event with who, what and how it ended; bodies only where a rule says so", async () => {
  const lines: string[] = [];
  const rules = [
    { level: "RequestResponse", verbs: ["create"], resources: [{ resources: ["configmaps"] }] },
    { level: "None", nonResourceURLs: ["/ready*"] },
    { level: "Metadata" },
  ] as const;
  await using api = await startFixture({ audit: createAudit({ write: (line) => lines.push(line), rules }) });
  await api.ok("POST", MAPS, { metadata: { name: "a" } });
  await api.refused("GET", `${MAPS}/b`);
  await api.send("GET", "/readyz");
  const [created, missed, ...more] = lines.map((line) => JSON.parse(line) as Written);
  assert.deepEqual(more, []);
  assert.deepEqual(created!.user.username, "system:anonymous");
  assert.deepEqual(created!.objectRef, { resource: "configmaps", namespace: "default", apiVersion: "v1" });
  assert.deepEqual([created!.requestObject!.metadata.name, created!.responseStatus.code], ["a", 201]);
  assert.deepEqual([missed!.verb, missed!.responseStatus.code, missed!.requestObject], ["get", 404, undefined]);
});

test("the content of secrets is never written down", () => {
  const lines: string[] = [];
  const audit = createAudit({ write: (line) => lines.push(line), rules: [{ level: "RequestResponse" }] });
  const info = { isResource: true, verb: "create", path: "/api/v1/namespaces/x/secrets", group: "", version: "v1" };
  audit.record({
    auditId: "1",
    stage: "ResponseComplete",
    user: { name: "u", groups: [] },
    impersonated: undefined,
    status: 201,
    info: { ...info, namespace: "x", resource: "secrets", subresource: "", name: "", tail: "" },
    request: { method: "POST", path: info.path, query: new URLSearchParams(), headers: {}, object: { data: "hush" } },
    annotations: {},
    receivedAtMs: 0,
    atMs: 0,
    responseObject: { data: "hush" },
  });
  assert.equal(lines.length, 1);
  assert.doesNotMatch(lines[0]!, /hush/);
});

test("rules name objects and subresources, leave stages out, and may keep managed fields out of bodies", async () => {
  const lines: string[] = [];
  const rules = [
    { level: "None", resources: [{ resources: ["configmaps"], resourceNames: ["noise"] }] },
    { level: "None", resources: [{ group: "example.io", resources: ["*/scale"] }] },
    { level: "Request", verbs: ["delete"], omitStages: ["ResponseComplete"] },
    { level: "RequestResponse", omitManagedFields: true },
  ] as const;
  await using api = await startFixture({ audit: createAudit({ write: (line) => lines.push(line), rules }) });
  await api.ok("POST", MAPS, { metadata: { name: "noise" } });
  await api.ok("GET", `${MAPS}/noise`);
  await api.send("GET", "/apis/example.io/v1/namespaces/default/widgets/w/scale");
  await api.ok("GET", MAPS);
  await api.ok("DELETE", `${MAPS}/noise`);
  const events = lines.map((line) => JSON.parse(line) as Written & { responseObject: object });
  // A create names its object in the body only, which upstream's rules don't look into either.
  assert.deepEqual(
    events.map(({ verb }) => verb),
    ["create", "list"],
  );
  for (const { responseObject } of events) {
    assert.match(JSON.stringify(responseObject), /noise/);
    assert.doesNotMatch(JSON.stringify(responseObject), /managedFields/);
  }
});
