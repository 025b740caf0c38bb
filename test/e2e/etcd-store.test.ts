/** The store suite on etcd's own server, one fresh server per file and one prefix of time per test; and a server that goes away. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, describe, it } from "node:test";
import type { Store } from "../../src/storage/index.ts";
import { storeSuite } from "../../src/storage/store.suite.ts";
import { freePort, killEtcds, openedEtcd, skipWithoutEtcd, startEtcd, type Etcd } from "../support/etcd.ts";

/** etcd's own limit for a transaction is 128. */
const MAX_OPERATIONS = 100;
const folder = mkdtempSync(path.join(tmpdir(), "berth-etcd-"));

after(() => {
  killEtcds();
  rmSync(folder, { recursive: true, force: true });
});

const started = async (name: string): Promise<Etcd> =>
  startEtcd({ data: path.join(folder, name), port: await freePort(), peerPort: await freePort() });

describe("etcd", { skip: skipWithoutEtcd }, () => {
  let server: Promise<Etcd> | undefined;
  let last: Store | undefined;
  storeSuite("etcd", async () => {
    server ??= started("suite");
    const { endpoint } = await server;
    last = await openedEtcd({ endpoints: [endpoint] });
    const keys = (await last.range("")).kvs.map(({ key }) => key);
    for (let at = 0; at < keys.length; at += MAX_OPERATIONS)
      await last.commit([], [], keys.slice(at, at + MAX_OPERATIONS));
    return last;
  });

  it("goes on after the server was killed and started again, without a gap in the watch", async () => {
    const [port, peerPort] = [await freePort(), await freePort()];
    const data = path.join(folder, "restart");
    const first = startEtcd({ data, port, peerPort });
    await using store = await openedEtcd({ endpoints: [`http://127.0.0.1:${await freePort()}`, first.endpoint] });
    const { revision } = await store.commit([], [{ key: "/k/0", value: Buffer.from("0") }], []);
    const seen: number[] = [];
    const reading = (async () => {
      for await (const { events } of store.watch("/k/", revision)) {
        seen.push(...events.map(({ kv }) => kv.modRevision));
        if (seen.length >= 3) break;
      }
    })();
    await first.stop();
    const second = startEtcd({ data, port, peerPort });
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
