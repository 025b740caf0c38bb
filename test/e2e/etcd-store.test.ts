/** The store suite on etcd's own server, one fresh server per file and one prefix of time per test; and a server that goes away. */
import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, describe, it } from "node:test";
import { openEtcdStore, type Store } from "../../src/storage/index.ts";
import { storeSuite } from "../../src/storage/store.suite.ts";

const ETCD = "/usr/bin/etcd";
/** etcd's own limit for a transaction is 128. */
const MAX_OPERATIONS = 100;
const folder = mkdtempSync(path.join(tmpdir(), "berth-etcd-"));
const running = new Set<ChildProcess>();

after(async () => {
  for (const server of running) server.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
});

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => probe.once("listening", resolve));
  const { port } = probe.address() as AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  return port;
}

interface Etcd {
  readonly endpoint: string;
  stop(): Promise<void>;
}

async function startEtcd(data: string, port: number, peerPort: number): Promise<Etcd> {
  const url = `http://127.0.0.1:${port}`;
  const peer = `http://127.0.0.1:${peerPort}`;
  const flags = [
    "--data-dir",
    data,
    "--listen-client-urls",
    url,
    "--advertise-client-urls",
    url,
    "--listen-peer-urls",
    peer,
  ];
  const more = [
    "--initial-advertise-peer-urls",
    peer,
    "--initial-cluster",
    `default=${peer}`,
    "--log-level",
    "error",
    "--unsafe-no-fsync",
  ];
  const child = spawn(ETCD, [...flags, ...more], { stdio: "ignore" });
  running.add(child);
  const stop = async () => {
    running.delete(child);
    if (child.exitCode !== null) return;
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await gone;
  };
  return { endpoint: url, stop };
}

async function opened(endpoints: readonly string[]): Promise<Store> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await openEtcdStore({ endpoints, timeoutMs: 2000 });
    } catch (error) {
      if (attempt >= 30) throw error;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }
}

describe("etcd", { skip: existsSync(ETCD) ? false : "etcd-server is not installed" }, () => {
  let server: Promise<Etcd> | undefined;
  let last: Store | undefined;
  storeSuite("etcd", async () => {
    server ??= (async () => startEtcd(path.join(folder, "suite"), await freePort(), await freePort()))();
    const { endpoint } = await server;
    last = await opened([endpoint]);
    const keys = (await last.range("")).kvs.map(({ key }) => key);
    for (let at = 0; at < keys.length; at += MAX_OPERATIONS)
      await last.commit([], [], keys.slice(at, at + MAX_OPERATIONS));
    return last;
  });

  it("goes on after the server was killed and started again, without a gap in the watch", async () => {
    const [port, peerPort] = [await freePort(), await freePort()];
    const data = path.join(folder, "restart");
    const first = await startEtcd(data, port, peerPort);
    await using store = await opened([`http://127.0.0.1:${await freePort()}`, first.endpoint]);
    const { revision } = await store.commit([], [{ key: "/k/0", value: Buffer.from("0") }], []);
    const seen: number[] = [];
    const reading = (async () => {
      for await (const { events } of store.watch("/k/", revision)) {
        seen.push(...events.map(({ kv }) => kv.modRevision));
        if (seen.length >= 3) break;
      }
    })();
    await first.stop();
    const second = await startEtcd(data, port, peerPort);
    const written: number[] = [];
    for (let attempt = 0; written.length < 2 && attempt < 60; attempt++) {
      const key = `/k/${written.length + 1}`;
      await store.commit([{ key, modRevision: 0 }], [{ key, value: Buffer.from("x") }], []).then(
        (result) => void (result.succeeded && written.push(result.revision)),
        () => new Promise((resolve) => setTimeout(resolve, 200)),
      );
    }
    await reading;
    assert.deepEqual(seen, [revision, ...written]);
    await second.stop();
  });
});
