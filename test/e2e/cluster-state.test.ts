/** Where a cluster's state is: a file that can be backed up and restored, or an etcd that the configuration names. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, test } from "node:test";
import { startBerth, type TestBerth } from "../support/daemon.ts";
import { freePort, killEtcds, openedEtcd, skipWithoutEtcd, startEtcd } from "../support/etcd.ts";

const CONTROL_PLANE = { BERTH_KUBERNETES: "1", BERTH_ENGINE: "0" };
const started: TestBerth[] = [];
after(async () => {
  for (const berth of started) await berth.stop();
  killEtcds();
});

async function start(): Promise<TestBerth> {
  const berth = await startBerth({ start: false, env: CONTROL_PLANE });
  started.push(berth);
  return berth;
}

async function out(berth: TestBerth, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await berth.berth(...args);
  assert.equal(code, 0, `berth ${args.join(" ")}: exit ${code}\n${stdout}${stderr}`);
  return stdout.trimEnd();
}

async function note(berth: TestBerth, text: string): Promise<void> {
  const file = path.join(berth.directory, "note.json");
  const object = { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "note" }, data: { text } };
  writeFileSync(file, JSON.stringify(object));
  await out(berth, "apply", "-f", file);
}
const noted = async (berth: TestBerth) =>
  (JSON.parse(await out(berth, "get", "configmap", "note", "--json")) as { data: { text: string } }).data.text;

test("a backup of a running cluster brings its state back", async () => {
  const berth = await start();
  await berth.start();
  await note(berth, "first");
  const file = path.join(berth.directory, "backups", "monday.db");
  assert.equal(await out(berth, "cluster", "backup", file), file);
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.match(
    (await berth.berth("cluster", "backup", berth.directory)).stderr,
    /is a folder\n +name a file for the backup: /,
  );
  await note(berth, "second");
  assert.match((await berth.berth("cluster", "restore", file)).stderr, /is up: a cluster's state can't be replaced/);
  await berth.down();
  const wrong = await berth.berth("cluster", "restore", path.join(berth.directory, "note.json"));
  assert.match(wrong.stderr, /note\.json is no backup of a cluster's state/);
  assert.match(await out(berth, "cluster", "restore", file), /the one before is .*\.before-restore$/);
  await berth.start();
  assert.equal(await noted(berth), "first");
});

test("a cluster on etcd", { skip: skipWithoutEtcd }, async () => {
  const berth = await start();
  const data = path.join(berth.directory, "etcd");
  mkdirSync(data);
  const etcd = startEtcd({ data, port: await freePort(), peerPort: await freePort() });
  await (await openedEtcd({ endpoints: [etcd.endpoint] })).close();
  const config = path.join(berth.directory, "daemon.json");
  writeFileSync(config, JSON.stringify({ "api-server": { "etcd-servers": etcd.endpoint } }));
  await berth.start();
  await note(berth, "kept by etcd");
  assert.ok(!existsSync(path.join(berth.dataDir, "cluster", "state.db")));
  assert.match((await berth.berth("cluster", "backup", "/tmp/x.db")).stderr, /state is in etcd, .*etcdctl snapshot/);
  await berth.kill();
  await berth.start();
  assert.equal(await noted(berth), "kept by etcd");
});
