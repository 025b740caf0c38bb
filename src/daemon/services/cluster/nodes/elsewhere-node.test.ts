import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock, hasCode, messageOf, seededRandom, silentLogger, unavailable } from "../../../../base/index.ts";
import { KubeClient, resources } from "../../../../client/index.ts";
import { FakeApi, testUser } from "../../../../client/testing/fake.ts";
import type { Underlay } from "../../../../node/index.ts";
import type { DaemonContext } from "../../../context.ts";
import type { ClusterSettings } from "../settings.ts";
import { ElsewhereNode } from "./elsewhere-node.ts";
import type { NodeMachine } from "./node-machine.ts";

function world(machine: Partial<NodeMachine>) {
  const clock = new FakeClock();
  const client = new KubeClient(new FakeApi({ clock }).handler, { user: testUser });
  const did: string[] = [];
  const underlay = {
    plugIn: () => did.push("plug in"),
    unplug: () => did.push("unplug"),
    connect: (_: unknown, up: boolean) => did.push(up ? "cable in" : "cable out"),
  } as unknown as Underlay;
  const context = { clock, random: seededRandom(1), log: silentLogger } as unknown as DaemonContext;
  const settings = { ranges: { pod: "10.244" } } as ClusterSettings;
  const parts = { client, underlay, authority: "", apiServer: { cert: "", key: "" }, machine: machine as NodeMachine };
  const entry = { index: 2, name: "berth-2", stopped: false };
  return { clock, client, did, node: new ElsewhereNode(context, parts, entry, settings) };
}

const ready = (status: string) => ({ conditions: [{ type: "Ready", status }] });

test("a machine is on when its Node is Ready; what an earlier life said does not count", async () => {
  const start = async (plugIn: () => void) => plugIn();
  const { clock, client, did, node } = world({ start, refuseEnded: async () => {} });
  const nodes = client.of(resources.nodes);
  await nodes.create({ metadata: { name: "berth-2" }, status: ready("True") as never });
  let on = false;
  const starting = node.powerOn().then(() => (on = true));
  await clock.advance(5_000);
  assert.equal(on, false);
  assert.deepEqual(did, ["unplug", "plug in", "cable in"]);
  await nodes.patch({ name: "berth-2" }, { status: ready("True") }, { subresource: "status" });
  await clock.advance(1_000);
  await starting;
});

test("a machine that ends before it has joined is said at once, one that never joins after a while with its last lines", async () => {
  const refuseEnded = async () => {
    throw unavailable("the machine berth-2 has ended: killed; its console ends with:\n  Kernel panic");
  };
  const ended = world({ start: async () => {}, refuseEnded });
  await assert.rejects(ended.node.powerOn(), (error) => messageOf(error).includes("Kernel panic"));

  const mute = world({
    start: async () => {},
    refuseEnded: async () => {},
    lastLines: async () => "  waiting for the network",
  });
  const waiting = assert.rejects(
    mute.node.powerOn(),
    (error) => hasCode(error, "deadlineExceeded") && messageOf(error).includes("waiting for the network"),
  );
  await mute.clock.advance(11 * 60_000);
  await waiting;
});
