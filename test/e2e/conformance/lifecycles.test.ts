/**
 * "should support … API operations" and the lifecycle tests of upstream's conformance suite, for every kind in the same steps:
 * discovery; create, get, list (all namespaces too), watch, patch, update; status read, patched and updated; deletecollection.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { type Api, MERGE, STRATEGIC } from "./client.ts";
import { clusterApi } from "./cluster.ts";
import { kindCases, type KindCase } from "./kinds.ts";

const NAMESPACE = "lifecycles";
const api = clusterApi({
  prepare: () => api.ok("POST", "/api/v1/namespaces", { body: { metadata: { name: NAMESPACE } } }),
});

const csr = execFileSync(
  "openssl",
  [
    "req",
    "-new",
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:P-256",
    "-nodes",
    "-keyout",
    "/dev/null",
    "-subj",
    "/CN=e2e",
  ],
  { stdio: ["ignore", "pipe", "ignore"] },
).toString("base64");

const LABEL = "conformance-run";

for (const kind of kindCases(csr)) {
  test(`${kind.kind} (${kind.at.replace("/apis/", "").replace("/api/", "")})`, async () => {
    await inDiscovery(kind);
    const every = `${kind.at}/${kind.resource}`;
    const all = kind.namespaced ? `${kind.at}/namespaces/${NAMESPACE}/${kind.resource}` : every;
    const label = `${kind.resource}-${kind.at.split("/")[2]}`;
    const selector = `?labelSelector=${LABEL}%3D${label}`;
    const make = (index: number) => {
      const name = kind.name?.(index) ?? `e2e-${kind.resource}-${kind.at.split("/").length}-${index}`;
      const rest = JSON.parse(JSON.stringify(kind.rest(index)).replaceAll("NAMESPACE", NAMESPACE)) as object;
      return {
        apiVersion: kind.at.replace(/^\/apis?\//, ""),
        kind: kind.kind,
        metadata: { name, labels: { [LABEL]: label } },
        ...rest,
      };
    };
    const created = await api.ok("POST", all, { body: make(0) });
    assert.ok(created.metadata.uid);
    assert.equal((await api.call("POST", all, { body: make(0) })).body.reason, "AlreadyExists");
    const one = `${all}/${created.metadata.name}`;
    assert.equal((await api.ok("GET", one)).metadata.uid, created.metadata.uid);
    for (const index of [1, 2]) await api.ok("POST", all, { body: make(index) });

    const list = await api.ok("GET", all + selector);
    assert.equal(list.items.length, 3);
    assert.equal((await api.ok("GET", every + selector)).items.length, 3, "over all namespaces");
    const watch = await api.watch(`${every}${selector}&resourceVersion=${list.metadata.resourceVersion}`);
    try {
      await changes(one, watch, created.metadata.name);
      if (kind.status) await statusChanges(kind, one);
      const before = await api.ok("GET", one);
      await api.ok("DELETE", one);
      if (kind.leavesSlowly) {
        assert.ok((await api.ok("GET", one)).metadata.deletionTimestamp);
        await api.ok("DELETE", all + selector);
        return;
      }
      await watch.until(
        (event) => event.type === "DELETED" && event.object.metadata.uid === before.metadata.uid,
        "DELETED",
      );
      assert.equal((await api.call("GET", one)).status, 404);
      await api.ok("DELETE", all + selector);
      await watch.until((event) => event.type === "DELETED", "DELETED by deletecollection");
      await watch.until((event) => event.type === "DELETED", "both DELETED by deletecollection");
      assert.deepEqual((await api.ok("GET", every + selector)).items, []);
    } finally {
      watch.close();
    }
  });
}

async function inDiscovery(kind: KindCase): Promise<void> {
  const [, root, group, version] = kind.at.split("/") as [string, string, string, string | undefined];
  if (root === "apis") {
    const groups = await api.ok("GET", "/apis");
    const found = groups.groups.find((entry: { name: string }) => entry.name === group);
    assert.ok(
      found?.versions.some((entry: { version: string }) => entry.version === version),
      "group in /apis",
    );
    assert.ok((await api.ok("GET", `/apis/${group}`)).versions.length > 0);
  }
  const { resources } = (await api.ok("GET", kind.at)) as { resources: Array<{ name: string; verbs: string[] }> };
  const verbs = resources.find(({ name }) => name === kind.resource)?.verbs ?? [];
  for (const verb of ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"])
    if (!(verb === "deletecollection" && kind.resource === "services" && !verbs.includes(verb)))
      assert.ok(verbs.includes(verb), `${kind.resource} has ${verb}`);
  if (kind.status) {
    const status = resources.find(({ name }) => name === `${kind.resource}/status`);
    assert.deepEqual([...(status?.verbs ?? [])].sort(), ["get", "patch", "update"]);
  }
}

async function changes(one: string, watch: Awaited<ReturnType<Api["watch"]>>, name: string): Promise<void> {
  const patched = await api.patch(one, { metadata: { annotations: { patched: "true" } } });
  assert.equal(patched.metadata.annotations.patched, "true");
  await watch.until(
    ({ type, object }) => type === "MODIFIED" && object.metadata.name === name && object.metadata.annotations?.patched,
    "the patch",
  );
  const strategic = await api.patch(one, { metadata: { labels: { strategic: "yes" } } }, STRATEGIC);
  assert.equal(strategic.metadata.labels.strategic, "yes");
  for (let attempt = 0; ; attempt++) {
    const object = await api.ok("GET", one);
    object.metadata.annotations.updated = "true";
    object.metadata.labels.updated = "true";
    const { status, body } = await api.call("PUT", one, { body: object });
    if (status === 409 && attempt < 20) continue;
    assert.equal(status, 200, JSON.stringify(body));
    assert.equal(body.metadata.annotations.updated, "true");
    break;
  }
  await watch.until(
    ({ type, object }) => type === "MODIFIED" && object.metadata.name === name && object.metadata.annotations?.updated,
    "the update",
  );
}

/** Patches of the status may carry annotations, which stay; the spec does not change through it. */
async function statusChanges(kind: KindCase, one: string): Promise<void> {
  const before = await api.ok("GET", `${one}/status`);
  const type = MERGE;
  const patched = await api.patch(
    `${one}/status`,
    { metadata: { annotations: { patchedstatus: "true" } }, status: kind.status },
    type,
  );
  assert.equal(patched.metadata.annotations?.patchedstatus, "true", "annotation of a status patch");
  for (const [field, value] of Object.entries(kind.status!)) {
    if (value === null) continue;
    assert.deepEqual(
      contains(patched.status?.[field], value),
      true,
      `status.${field}: ${JSON.stringify(patched.status?.[field])}`,
    );
  }
  assert.deepEqual(patched.spec, before.spec, "the spec is as it was");
  for (let attempt = 0; ; attempt++) {
    const object = await api.ok("GET", `${one}/status`);
    object.metadata.annotations = { ...object.metadata.annotations, updatedstatus: "true" };
    if (kind.status!["conditions"])
      object.status.conditions = [
        ...(object.status.conditions ?? []),
        { ...(kind.status!["conditions"] as object[])[0], type: "StatusUpdated" },
      ];
    const { status, body } = await api.call("PUT", `${one}/status`, { body: object });
    if (status === 409 && attempt < 20) continue;
    assert.equal(status, 200, JSON.stringify(body));
    if (kind.status!["conditions"])
      assert.ok(body.status.conditions.some((entry: { type: string }) => entry.type === "StatusUpdated"));
    break;
  }
  if (kind.contested) return;
  const { body } = await api.call("GET", `${one}/status`);
  if (kind.status!["conditions"])
    assert.ok(body.status.conditions.some((entry: { type: string }) => entry.type === "StatusUpdated"));
}

function contains(actual: unknown, wanted: unknown): boolean {
  if (typeof wanted !== "object" || wanted === null) return actual === wanted;
  if (typeof actual !== "object" || actual === null) return false;
  return Object.entries(wanted).every(([key, value]) => contains((actual as Record<string, unknown>)[key], value));
}
