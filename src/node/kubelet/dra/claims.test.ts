import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { failedPrecondition, silentLogger } from "../../../base/index.ts";
import type { Container, Pod } from "../pod/imports.ts";
import { ResourceClaims } from "./claims.ts";
import type { DraDriver } from "./drivers.ts";
import type { ClaimRef, ResourceClaim } from "./types.ts";

const container = (name: string, request?: string): Container =>
  ({ name, resources: { claims: [{ name: "gpu", ...(request && { request }) }] } }) as Container;
const podOf = (uid: string, claim: object = { resourceClaimName: "shared" }): Pod =>
  ({
    metadata: { name: `pod-${uid}`, namespace: "n", uid },
    spec: { containers: [container("all")], resourceClaims: [{ name: "gpu", ...claim }] },
  }) as unknown as Pod;
const claimOf = (...users: string[]): ResourceClaim => ({
  metadata: { name: "shared", namespace: "n", uid: "c-1" },
  status: {
    allocation: { devices: { results: [{ request: "big", driver: "d", pool: "p", device: "gpu-0" }] } },
    reservedFor: users.map((uid) => ({ resource: "pods", name: `pod-${uid}`, uid })),
  },
});

async function start(t: TestContext, claim: ResourceClaim | undefined) {
  const folder = await mkdtemp(path.join(os.tmpdir(), "berth-dra-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const calls: string[] = [];
  const state = { present: true };
  const driver = {
    prepare: async ({ uid }: ClaimRef) => {
      calls.push(`prepare ${uid}`);
      const device = (name: string, requests: string[]) => ({
        driver: "d",
        pool: "p",
        device: name,
        requests,
        cdiDevices: [`d/c=${name}`],
      });
      return [device("gpu-0", ["big"]), device("gpu-1", ["small/first"]), device("any", [])];
    },
    unprepare: async ({ uid }: ClaimRef) => void calls.push(`unprepare ${uid}`),
  } as unknown as DraDriver;
  const open = async () => {
    const claims = new ResourceClaims({
      api: { resourceClaim: async () => claim },
      drivers: {
        get: (name) => {
          if (!state.present) throw failedPrecondition(`DRA driver ${name} is not registered`);
          return driver;
        },
      },
      log: silentLogger,
      checkpoint: path.join(folder, "claims.json"),
    });
    await claims.recover();
    return claims;
  };
  return { open, calls, state };
}

test("a claim is prepared once for all its Pods, over a restart too, and given back with the last", async (t) => {
  const { open, calls } = await start(t, claimOf("a", "b"));
  const claims = await open();
  await claims.prepare(podOf("a"));
  const next = await open();
  await next.prepare(podOf("a"));
  await next.prepare(podOf("b"));
  await next.release("a");
  assert.deepEqual(calls, ["prepare c-1"]);
  await next.keepOnly(() => false);
  assert.deepEqual(calls, ["prepare c-1", "unprepare c-1"]);
  await (await open()).release("b");
  assert.equal(calls.length, 2);
});

test("a container has the devices of the requests that it names, or all", async (t) => {
  const { open } = await start(t, claimOf("a"));
  const claims = await open();
  const pod = podOf("a");
  await claims.prepare(pod);
  assert.deepEqual(claims.cdiDevices(pod, container("x")), ["d/c=gpu-0", "d/c=gpu-1", "d/c=any"]);
  assert.deepEqual(claims.cdiDevices(pod, container("x", "big")), ["d/c=gpu-0", "d/c=any"]);
  assert.deepEqual(claims.cdiDevices(pod, container("x", "small")), ["d/c=gpu-1", "d/c=any"]);
  assert.deepEqual(claims.cdiDevices(pod, { name: "x" } as Container), []);
});

test("what can't be prepared is said, and nothing is remembered of it", async (t) => {
  const { open, state, calls } = await start(t, claimOf("a"));
  const claims = await open();
  await assert.rejects(
    claims.prepare(podOf("z")),
    /pod pod-z \(z\) is not allowed to use ResourceClaim shared \(c-1\)/,
  );
  await assert.rejects(
    claims.prepare(podOf("a", { resourceClaimTemplateName: "t" })),
    /PodResourceClaim "gpu": ResourceClaim not created yet/,
  );
  state.present = false;
  await assert.rejects(claims.prepare(podOf("a")), /DRA driver d is not registered/);
  await claims.release("a");
  assert.deepEqual(calls, []);
  const none = await (await start(t, undefined)).open();
  await assert.rejects(none.prepare(podOf("a")), /fetch ResourceClaim shared: .* not found/);
});

test("a driver that is away is asked again to give back", async (t) => {
  const { open, state, calls } = await start(t, claimOf("a"));
  const claims = await open();
  await claims.prepare(podOf("a"));
  state.present = false;
  await assert.rejects(claims.release("a"), /unprepare dynamic resources: DRA driver d is not registered/);
  state.present = true;
  await claims.release("a");
  assert.equal(calls.at(-1), "unprepare c-1");
});
