import assert from "node:assert/strict";
import net from "node:net";
import { test } from "node:test";
import { FakeClock, settle } from "../../../base/index.ts";
import { listeningPorts, portsToWaitFor, whenListening } from "./listening.ts";

test("listening sockets are told from others", () => {
  const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1388 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1
   1: 0100007F:1389 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 2
   2: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 0 0 0 3`;
  assert.deepEqual([...listeningPorts(table)], [5000, 80]);
});

test("only declared TCP ports of containers without a readiness probe are waited for", () => {
  const ports = [{ containerPort: 80 }, { containerPort: 53, protocol: "UDP" }];
  assert.deepEqual(portsToWaitFor({ name: "a", ports }), [80]);
  assert.deepEqual(portsToWaitFor({ name: "a", ports, readinessProbe: { tcpSocket: { port: 80 } } }), []);
  assert.deepEqual(portsToWaitFor({ name: "a" }), []);
});

test("a container is waited for until it listens, or patience has run out", async () => {
  const clock = new FakeClock();
  const runtime = { containerStatus: async () => ({ pid: process.pid }) as never };
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, resolve));
  const { port } = server.address() as net.AddressInfo;
  await whenListening({ runtime, clock }, "id", [port], () => false);
  await new Promise((resolve) => server.close(resolve));
  let done = false;
  const waiting = whenListening({ runtime, clock }, "id", [port], () => false).then(() => (done = true));
  await settle();
  assert.equal(done, false);
  // Its clock stands still while a file is read.
  while (!done) {
    await clock.advance(5_000);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await waiting;
});
