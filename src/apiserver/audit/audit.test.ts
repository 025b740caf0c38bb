import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { createLogger, FakeClock, systemClock } from "../../base/index.ts";
import { readAuditPolicy } from "./policy.ts";
import { AuditWebhook } from "./webhook.ts";

async function folderOf(t: TestContext): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), "berth-audit-"));
  t.after(() => rm(folder, { recursive: true }));
  return folder;
}

test("a policy is read as upstream's, and what it may not say is refused by its path", async (t) => {
  const file = path.join(await folderOf(t), "policy.yaml");
  const read = async (...lines: string[]) => {
    await writeFile(file, ["apiVersion: audit.k8s.io/v1", "kind: Policy", ...lines].join("\n"));
    return readAuditPolicy(file);
  };
  const policy = await read(
    "omitStages: [RequestReceived]",
    "omitManagedFields: true",
    "rules:",
    "- {level: None, users: [system:kube-proxy], verbs: [watch]}",
    "- {level: Request, resources: [{group: '', resources: [configmaps]}], omitStages: [ResponseStarted]}",
    "- level: Metadata",
  );
  assert.deepEqual(
    policy.rules.map(({ level }) => level),
    ["None", "Request", "Metadata"],
  );
  assert.deepEqual([policy.omitStages, policy.omitManagedFields], [["RequestReceived"], true]);
  await assert.rejects(read("rules: []"), /illegal policy with 0 rules/);
  await assert.rejects(read("rules: [{level: Everything}]"), /rules\[0\].level: Unsupported value: "Everything"/);
  await assert.rejects(
    read("rules: [{level: None, omitStages: [Never]}]"),
    /rules\[0\].omitStages: Invalid value: "Never"/,
  );
  await assert.rejects(
    read("rules: [{level: None, resources: [{group: apps}], nonResourceURLs: [/healthz]}]"),
    /cannot apply to both regular resources and non-resource URLs/,
  );
  await writeFile(file, "apiVersion: audit.k8s.io/v1beta1\nkind: Policy\nrules: [{level: None}]");
  await assert.rejects(readAuditPolicy(file), /must be of apiVersion audit.k8s.io\/v1 and kind Policy/);
  await assert.rejects(readAuditPolicy(path.join(file, "absent")), /failed to read audit policy/);
});

/** A service that takes events, and refuses as often as told. */
async function startSink(t: TestContext) {
  const seen: string[][] = [];
  const sink = { seen, refusals: 0, asked: 0 };
  const server = createServer((request, response) => {
    let text = "";
    request.on("data", (chunk: Buffer) => (text += chunk.toString()));
    request.on("end", () => {
      sink.asked++;
      response.statusCode = sink.refusals-- > 0 ? 500 : 200;
      const { kind, apiVersion, items } = JSON.parse(text) as {
        kind: string;
        apiVersion: string;
        items: { n: string }[];
      };
      assert.deepEqual([kind, apiVersion], ["EventList", "audit.k8s.io/v1"]);
      if (response.statusCode === 200) seen.push(items.map(({ n }) => n));
      response.end();
    });
  }).listen(0, "127.0.0.1");
  t.after(() => server.close());
  await new Promise((resolve) => server.once("listening", resolve));
  const configFile = path.join(await folderOf(t), "webhook");
  const { port } = server.address() as AddressInfo;
  await writeFile(configFile, `clusters: [{name: sink, cluster: {server: "http://127.0.0.1:${port}/audit"}}]`);
  return { sink, configFile };
}

const event = (n: number) => JSON.stringify({ n: String(n) });
const until = async (done: () => boolean) => {
  while (!done()) await systemClock.sleep(5);
};

test("events travel in batches: when there are enough, after a while, and at the end", async (t) => {
  const { sink, configFile } = await startSink(t);
  const clock = new FakeClock();
  const log = createLogger({ write: () => {} });
  const options = { configFile, bufferSize: 100, maxBatchSize: 2, maxWaitMs: 1000, backoffMs: 10 };
  const webhook = await AuditWebhook.open(options, clock, log);
  webhook.write(event(1));
  webhook.write(event(2));
  await until(() => sink.seen.length === 1);
  webhook.write(event(3));
  await clock.advance(999);
  assert.deepEqual(sink.seen, [["1", "2"]]);
  await clock.advance(1);
  await until(() => sink.seen.length === 2);
  webhook.write(event(4));
  await webhook.close();
  assert.deepEqual(sink.seen, [["1", "2"], ["3"], ["4"]]);
});

test("a batch that is refused is sent again; who writes never waits, and what is too much is dropped", async (t) => {
  const { sink, configFile } = await startSink(t);
  const clock = new FakeClock();
  const lines: string[] = [];
  const log = createLogger({ write: (line) => lines.push(line) });
  const options = { configFile, bufferSize: 3, maxBatchSize: 2, maxWaitMs: 1000, backoffMs: 10 };
  const webhook = await AuditWebhook.open(options, clock, log);
  sink.refusals = 1;
  for (let n = 1; n <= 7; n++) webhook.write(event(n));
  await until(() => sink.asked === 1);
  // The pause before the second try begins when the answer has been read.
  while (sink.seen.length === 0) {
    await clock.advance(10);
    await systemClock.sleep(5);
  }
  await webhook.close();
  assert.deepEqual(sink.seen.flat(), ["1", "2", "3", "4", "5"]);
  assert.match(lines.join(""), /audit events were dropped.*"count":2/);
});
