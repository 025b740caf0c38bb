import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, test } from "node:test";
import { FakeClock, hasCode, seededRandom, silentLogger } from "../../base/index.ts";
import { FakeNetlinkHost, FakeNetns, FakeNft } from "../../host/index.ts";
import { PodAddressPool } from "./addresses.ts";
import { PodNet } from "./index.ts";

const folders: string[] = [];
afterEach(() => folders.splice(0).forEach((folder) => rmSync(folder, { recursive: true })));

function world() {
  const folder = mkdtempSync(path.join(tmpdir(), "berth-podnet-"));
  folders.push(folder);
  const netns = new FakeNetns();
  const hosts = { netns, netlink: new FakeNetlinkHost(netns), nft: new FakeNft() };
  const clocks = { clock: new FakeClock(), random: seededRandom(1), log: silentLogger };
  const ctx = { instance: "t", dataDir: folder, runtimeDir: folder, ...clocks };
  return { hosts, open: () => new PodNet(ctx, { hosts }) };
}

test("a Pod has a /32 behind the gateway; adding it again changes nothing", async () => {
  const { hosts, open } = world();
  const net = open();
  assert.match(net.notReady()!, /no Pod range/);
  await assert.rejects(net.add({ id: "a" }), (error) => hasCode(error, "failedPrecondition"));
  await net.setPodCidr("10.244.0.0/24");
  const pod = await net.add({ id: "a" });
  assert.deepEqual(pod.ips, ["10.244.0.2"]);
  assert.deepEqual(await net.add({ id: "a" }), pod);
  const inside = hosts.netlink.space(pod.netnsPath);
  assert.deepEqual(
    inside.addresses.map((one) => `${one.address}/${one.prefixLength}`),
    ["10.244.0.2/32"],
  );
  assert.deepEqual(inside.routes.find((route) => route.destination === "0.0.0.0/0")?.gateway, "10.244.0.1");
});

test("dual stack gives one address of each family", async () => {
  const net = world().open();
  await net.setPodCidr("10.244.0.0/24,fd00:10::/64");
  assert.deepEqual((await net.add({ id: "a" })).ips, ["10.244.0.2", "fd00:10::2"]);
});

test("after a restart Pods keep their addresses, those without an owner are taken back", async () => {
  const { hosts, open } = world();
  const before = open();
  await before.setPodCidr("10.244.0.0/24");
  for (const id of ["a", "b"]) await before.add({ id });
  const after = open();
  await after.recover(new Set(["b"]));
  await after.setPodCidr("10.244.0.0/24");
  assert.deepEqual((await after.add({ id: "b" })).ips, ["10.244.0.3"]);
  assert.deepEqual((await after.add({ id: "c" })).ips, ["10.244.0.2"]);
  assert.deepEqual([...hosts.netns.pins.keys()].map((pin) => path.basename(pin)).sort(), ["b", "c"]);
  await after.destroyAll();
  assert.equal(hosts.netlink.space("").links.size, 1);
});

test("an address returns as late as possible, and a full range says so", () => {
  const pool = new PodAddressPool("10.0.0.0/29");
  const given = Array.from({ length: 5 }, () => pool.allocate());
  assert.deepEqual(given, ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]);
  assert.throws(() => pool.allocate(), /no free address in the node's Pod range 10\.0\.0\.0\/29/);
  pool.release("10.0.0.4");
  assert.equal(pool.allocate(), "10.0.0.4");
});

test("bandwidth annotations limit what enters at the node's end and what leaves at the Pod's", async () => {
  const { hosts, open } = world();
  const net = open();
  await net.setPodCidr("10.244.0.0/24");
  const limits = (ingress: string) => ({
    annotations: { "kubernetes.io/ingress-bandwidth": ingress, "kubernetes.io/egress-bandwidth": "8k" },
  });
  const pod = await net.add({ id: "a", config: limits("10M") });
  assert.deepEqual([...hosts.netlink.space("").rates.values()], [1_250_000]);
  assert.deepEqual([...hosts.netlink.space(pod.netnsPath).rates.values()], [1000]);
  await assert.rejects(net.add({ id: "b", config: limits("3") }), (error) => hasCode(error, "invalidArgument"));
});
