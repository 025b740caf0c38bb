import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { systemClock } from "../../base/index.ts";
import { QmpClient } from "./client.ts";

/** A monitor that answers by a table; what it was asked is kept. */
async function monitor(t: TestContext, answers: Record<string, unknown>) {
  const folder = await mkdtemp(path.join(os.tmpdir(), "berth-qmp-"));
  const asked: unknown[] = [];
  const sockets: net.Socket[] = [];
  const server = net.createServer((socket) => {
    sockets.push(socket);
    socket.on("error", () => {});
    socket.write('{"QMP":{"version":{},"capabilities":[]}}\r\n');
    socket.setEncoding("utf8").on("data", (text: string) => {
      for (const line of text.trim().split("\n")) {
        const {
          execute,
          id,
          arguments: args,
        } = JSON.parse(line) as { execute: string; id: string; arguments?: unknown };
        asked.push([execute, args]);
        const answer = answers[execute];
        if (answer !== undefined) socket.write(JSON.stringify({ ...(answer as object), id }) + "\n");
      }
    });
  });
  const file = path.join(folder, "qmp");
  await new Promise<void>((resolve) => server.listen(file, resolve));
  t.after(async () => {
    for (const socket of sockets) socket.destroy();
    server.close();
    await rm(folder, { recursive: true, force: true });
  });
  return { file, asked, sockets };
}

const ok = { return: {} };

test("negotiates, sends arguments and returns answers", async (t) => {
  const { file, asked } = await monitor(t, { qmp_capabilities: ok, "query-status": { return: { status: "running" } } });
  await using client = await QmpClient.connect(file, systemClock);
  assert.deepEqual(await client.execute("query-status", { x: 1 }), { status: "running" });
  assert.deepEqual(asked, [
    ["qmp_capabilities", undefined],
    ["query-status", { x: 1 }],
  ]);
});

test("a refusal carries QEMU's words and class", async (t) => {
  const { file } = await monitor(t, {
    qmp_capabilities: ok,
    device_del: { error: { class: "DeviceNotFound", desc: "Device 'x' not found" } },
  });
  await using client = await QmpClient.connect(file, systemClock);
  await assert.rejects(client.execute("device_del"), {
    code: "notFound",
    message: "the machine refused: Device 'x' not found",
  });
});

test("when the machine goes, who waits is told and events end", async (t) => {
  const { file, sockets } = await monitor(t, { qmp_capabilities: ok });
  await using client = await QmpClient.connect(file, systemClock);
  const seen: string[] = [];
  const reading = (async () => {
    for await (const { event } of client.events()) seen.push(event);
  })();
  sockets[0]!.write('{"event":"SHUTDOWN","data":{"guest":true},"timestamp":{"seconds":1,"microseconds":0}}\n');
  const waiting = client.execute("never-answered");
  setImmediate(() => sockets[0]!.end());
  await assert.rejects(waiting, { code: "unavailable" });
  await reading;
  assert.deepEqual(seen, ["SHUTDOWN"]);
});

test("nobody listening is said plainly", async () => {
  await assert.rejects(QmpClient.connect("/nonexistent/qmp", systemClock), { code: "unavailable" });
});
