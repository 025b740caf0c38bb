import assert from "node:assert/strict";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { FakeClock, silentLogger, systemRandom } from "../../base/index.ts";
import type { cri } from "../../api/index.ts";
import { FakeNetns } from "../../host/netns/fake.ts";
import { CniNetwork } from "./cni-network.ts";
import { addressesOf, parseConflist } from "./conflist.ts";

const LIST = {
  cniVersion: "1.0.0",
  name: "lan",
  plugins: [{ type: "bridge" }, { type: "portmap", capabilities: { portMappings: true } }],
};
const RESULT = {
  cniVersion: "1.0.0",
  interfaces: [{ name: "br0" }, { name: "eth0", sandbox: "/x" }],
  ips: [{ address: "10.9.0.2/24", interface: 1 }],
};

const config = {
  metadata: { name: "web", namespace: "shop", uid: "u1", attempt: 0 },
  portMappings: [{ protocol: "TCP", containerPort: 80, hostPort: 8080, hostIp: "" }],
} as unknown as cri.PodSandboxConfig;

async function setUp(
  t: TestContext,
  answer: (program: string, command: string) => { code: number; stdout: string },
  list: unknown = LIST,
) {
  const folder = await mkdtemp(path.join(os.tmpdir(), "berth-cni-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  if (list !== null) await writeFile(path.join(folder, "10-lan.conflist"), JSON.stringify(list));
  const calls: string[] = [];
  const inputs: unknown[] = [];
  const network = new CniNetwork(
    {
      instance: "t",
      dataDir: folder,
      runtimeDir: path.join(folder, "run"),
      clock: new FakeClock(),
      random: systemRandom,
      log: silentLogger,
    },
    {
      confDir: folder,
      binDir: "/plugins",
      netns: new FakeNetns(),
      execute: async ([program], { env, input }) => {
        calls.push(`${env["CNI_COMMAND"]} ${path.basename(program!)}`);
        inputs.push(JSON.parse(input));
        return { stderr: "", ...answer(path.basename(program!), env["CNI_COMMAND"]!) };
      },
    },
  );
  await network.open();
  const records = () => readdir(path.join(folder, "run", "cni", "records"));
  return { network, calls, inputs, records };
}

test("plugins are called in order, each with the result before it, and undone in reverse", async (t) => {
  const { network, calls, inputs, records } = await setUp(t, () => ({ code: 0, stdout: JSON.stringify(RESULT) }));
  const added = await network.add({ id: "pod1", config });
  assert.deepEqual(added.ips, ["10.9.0.2"]);
  assert.deepEqual((inputs[1] as { prevResult: unknown }).prevResult, RESULT);
  assert.deepEqual((inputs[1] as { runtimeConfig: unknown }).runtimeConfig, {
    portMappings: [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }],
  });
  assert.deepEqual(await network.add({ id: "pod1", config }), added, "a second call returns what is there");
  await network.remove("pod1");
  assert.deepEqual(calls, ["ADD bridge", "ADD portmap", "DEL portmap", "DEL bridge"]);
  assert.deepEqual(await records(), []);
});

test("when a plugin fails, what was done is undone and its own words are told", async (t) => {
  const answer = (program: string, command: string) =>
    program === "portmap" && command === "ADD"
      ? { code: 1, stdout: JSON.stringify({ code: 7, msg: "no chain" }) }
      : { code: 0, stdout: JSON.stringify(RESULT) };
  const { network, calls, records } = await setUp(t, answer);
  await assert.rejects(network.add({ id: "pod1", config }), {
    code: "unavailable",
    message: 'plugin type="portmap" name="lan" failed (add): no chain',
  });
  assert.deepEqual(calls.slice(2), ["DEL portmap", "DEL bridge"]);
  assert.deepEqual(await records(), []);
});

test("after a restart what nobody owns is undone", async (t) => {
  const { network, calls } = await setUp(t, () => ({ code: 0, stdout: JSON.stringify(RESULT) }));
  await network.add({ id: "keep", config });
  await network.add({ id: "drop", config });
  calls.length = 0;
  await network.recover(new Set(["keep"]));
  assert.deepEqual(calls, ["DEL portmap", "DEL bridge"]);
});

test("without a usable configuration the node says why", async (t) => {
  const { network } = await setUp(t, () => ({ code: 0, stdout: "" }), null);
  assert.match(network.notReady()!, /^cni plugin not initialized: no network configuration in /);
  const broken = await setUp(t, () => ({ code: 0, stdout: "" }), { name: "lan", plugins: [{ type: "../../bin/sh" }] });
  assert.match(broken.network.notReady()!, /no program's name$/);
  await assert.rejects(broken.network.add({ id: "pod1", config }), { code: "failedPrecondition" });
});

test("a single plugin's file is a list of one; only addresses inside the sandbox count", () => {
  assert.equal(parseConflist('{"name":"lan","type":"bridge"}', "f").plugins.length, 1);
  assert.deepEqual(
    addressesOf({
      interfaces: [{}, { sandbox: "/x" }],
      ips: [
        { address: "10.0.0.1/24", interface: 0 },
        { address: "10.0.0.2/24", interface: 1 },
      ],
    }),
    ["10.0.0.2"],
  );
});
