/** A cluster by berth's own command line: without the engine, with simulated nodes, without kubectl. */
import assert from "node:assert/strict";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { after, before, test } from "node:test";
import { startBerth, type TestBerth } from "../support/daemon.ts";

let berth: TestBerth;
/** The API server's usual port, held by somebody else if nobody holds it already. */
const other = net.createServer();
before(async () => {
  await new Promise<void>((resolve) => {
    other.once("error", () => resolve());
    other.listen(6443, "127.0.0.1", resolve);
  });
  berth = await startBerth({ start: false, env: { BERTH_KUBERNETES: "1" } });
  const { code, stderr } = await berth.berth("up", "-d", "--yes", "--without", "engine", "--simulated-nodes", "20");
  assert.equal(code, 0, stderr);
});
after(async () => {
  other.close();
  await berth?.stop();
});

/** Runs berth's CLI; fails the test when it does. */
async function out(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await berth.berth(...args);
  assert.equal(code, 0, `berth ${args.join(" ")}: exit ${code}\n${stdout}${stderr}`);
  return stdout.trimEnd();
}

async function until(what: string, pattern: RegExp, ...args: string[]): Promise<void> {
  const deadline = Date.now() + 20_000;
  for (;;) {
    const text = await out(...args);
    if (pattern.test(text)) return;
    if (Date.now() > deadline) assert.fail(`${what}:\n${text}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

test("the cluster is there without an engine, on another port than the one in use", async () => {
  const { services } = JSON.parse(await out("status", "--json")) as { services: { name: string }[] };
  const names = services.map(({ name }) => name);
  assert.ok(
    names.includes("simulated-nodes") && !names.includes("engine") && !names.includes("kubelet"),
    names.join(", "),
  );
  await until("nodes", /: 20 of 20 nodes ready \(20 simulated\), 0 pods$/, "status");
  const server = /server: https:\/\/127\.0\.0\.1:(\d+)/.exec(await out("kubeconfig"));
  assert.notEqual(server?.[1] ?? "6443", "6443");
});

test("the kubeconfig is merged beside others, for nobody else to read", async () => {
  const file = path.join(berth.directory, "config");
  writeFileSync(file, "contexts:\n- name: work\n  context: {cluster: work, user: me}\n", { mode: 0o644 });
  assert.match(await out("kubeconfig", "--file", file), /is in .*config, and current$/);
  assert.match(readFileSync(file, "utf8"), /name: work[\s\S]*current-context: berth-t/);
  assert.equal(statSync(file).mode & 0o777, 0o600);
  writeFileSync(file, "{");
  const { code, stderr } = await berth.berth("kubeconfig", "--file", file);
  assert.deepEqual([code, readFileSync(file, "utf8")], [1, "{"]);
  assert.match(stderr, /is not a kubeconfig; it stays as it is/);
});
