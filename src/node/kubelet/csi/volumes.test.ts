import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { FakeClock } from "../../../base/index.ts";
import type { k8s, Pod, Volume } from "../pod/imports.ts";
import { FakeKubeletApi } from "../testing/fake-api.ts";
import { TokenCache } from "../volumes/tokens.ts";
import type { CsiDriver } from "./driver.ts";
import type { CsiDrivers } from "./drivers.ts";
import { CsiVolumes } from "./volumes.ts";

const pod = { metadata: { name: "p", namespace: "n", uid: "u" }, spec: { containers: [] } } as unknown as Pod;
const inline: Volume = { name: "data", csi: { driver: "d" } };

async function volumesWith(t: TestContext, spec: Partial<k8s.CSIDriverSpec>) {
  const clock = new FakeClock();
  const api = new FakeKubeletApi();
  api.csiDriver = (async () => ({ spec: { volumeLifecycleModes: ["Ephemeral"], ...spec } })) as never;
  const folder = await mkdtemp(path.join(os.tmpdir(), "berth-csi-volumes-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const published: Array<Record<string, string>> = [];
  const publish = async ({ volumeContext }: { volumeContext: Record<string, string> }) =>
    void published.push(volumeContext);
  const driver = { capabilities: new Set(), stages: false, publish } as unknown as CsiDriver;
  const volumes = new CsiVolumes({
    api,
    clock,
    tokens: new TokenCache(api, clock),
    drivers: { get: () => driver } as unknown as CsiDrivers,
    nodeName: "node",
    mountsRoot: path.join(folder, "pods"),
    pluginsRoot: path.join(folder, "plugins"),
    report: async () => {},
  });
  return { clock, volumes, published };
}

test("a driver is asked once, and again in time when it wants to be", async (t) => {
  for (const requiresRepublish of [false, true]) {
    const { clock, volumes, published } = await volumesWith(t, { requiresRepublish });
    await volumes.mountInline(pod, inline);
    await volumes.mountInline(pod, inline);
    assert.equal(published.length, 1);
    await clock.advance(60_000);
    await volumes.mountInline(pod, inline);
    assert.equal(published.length, requiresRepublish ? 2 : 1);
  }
});

test("tokens for the Pod's account come with the audiences that the driver asked for", async (t) => {
  const { volumes, published } = await volumesWith(t, { tokenRequests: [{ audience: "vault" }, { audience: "" }] });
  await volumes.mountInline(pod, inline);
  const tokens = JSON.parse(published[0]!["csi.storage.k8s.io/serviceAccount.tokens"]!) as Record<string, object>;
  assert.deepEqual(Object.keys(tokens), ["vault", ""]);
  assert.deepEqual(Object.keys(tokens["vault"]!), ["token", "expirationTimestamp"]);
});
