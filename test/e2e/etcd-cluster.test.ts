/** The store over a real etcd cluster: three members behind TLS of which one is killed, users and their rights, writes by others. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, describe, it } from "node:test";
import * as grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { CertificateAuthority } from "../../src/apiserver/certificates/authority.ts";
import { codeOf } from "../../src/base/index.ts";
import { openEtcdStore, type Store } from "../../src/storage/index.ts";
import { freePort, killEtcds, openedEtcd, skipWithoutEtcd, startEtcd, type Etcd } from "../support/etcd.ts";

const MEMBERS = 3;
const ATTEMPTS = 100;
const PAUSE_MS = 100;
const folder = mkdtempSync(path.join(tmpdir(), "berth-etcd-cluster-"));
after(() => {
  killEtcds();
  rmSync(folder, { recursive: true, force: true });
});

const file = (name: string, text: string) => {
  const target = path.join(folder, name);
  writeFileSync(target, text, { mode: 0o600 });
  return target;
};
const pause = () => new Promise((resolve) => setTimeout(resolve, PAUSE_MS));

/** Writes until it is said that it worked; a lost answer may have been a success. */
async function written(store: Store, key: string): Promise<number> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    try {
      const { succeeded, revision, current } = await store.commit(
        [{ key, modRevision: 0 }],
        [{ key, value: Buffer.from(key) }],
        [],
      );
      return succeeded ? revision : current[0]!.modRevision;
    } catch {
      await pause();
    }
  }
  throw new Error(`${key} could not be written`);
}

describe("an etcd cluster", { skip: skipWithoutEtcd, timeout: 120_000 }, () => {
  it("of three members behind TLS loses one, and neither a write nor a watch suffers", async () => {
    const authority = CertificateAuthority.create("etcd-ca", Date.now());
    const valid = { notBeforeMs: Date.now(), notAfterMs: Date.now() + 86_400_000 };
    const usages = ["server", "client"] as const;
    const server = authority.issue({ ...valid, usages, subject: { commonName: "etcd" }, names: ["127.0.0.1"] });
    const client = authority.issue({ ...valid, usages: ["client"], subject: { commonName: "berth" } });
    const tls = {
      ca: file("ca.pem", authority.pair.cert),
      cert: file("server.pem", server.cert),
      key: file("server.key", server.key),
    };
    const ports: { port: number; peerPort: number }[] = [];
    while (ports.length < MEMBERS) ports.push({ port: await freePort(), peerPort: await freePort() });
    const cluster = ports.map(({ peerPort }, at) => `m${at}=http://127.0.0.1:${peerPort}`).join();
    const members = ports.map((both, at) =>
      startEtcd({ ...both, data: path.join(folder, `m${at}`), name: `m${at}`, cluster, tls }),
    );
    const endpoints = members.map(({ endpoint }) => endpoint);
    const trusted = { ca: authority.pair.cert, cert: client.cert, key: client.key };
    await using store = await openedEtcd({ endpoints, tls: trusted });
    await assert.rejects(
      openEtcdStore({ endpoints, tls: { ca: trusted.ca }, timeoutMs: 1000 }),
      (error) => codeOf(error) === "unavailable",
      "who has no certificate stays outside",
    );

    const first = await written(store, "/registry/k/0");
    const seen: number[] = [];
    const reading = (async () => {
      for await (const { events } of store.watch("/registry/k/", first)) {
        seen.push(...events.map(({ kv }) => kv.modRevision));
        if (seen.length > 10) break;
      }
    })();
    const revisions = [first];
    for (let at = 1; at <= 5; at++) revisions.push(await written(store, `/registry/k/${at}`));
    await members[0]!.stop();
    for (let at = 6; at <= 10; at++) revisions.push(await written(store, `/registry/k/${at}`));
    await reading;
    assert.deepEqual(seen, revisions);
    assert.equal((await store.range("/registry/k/")).count, 11);
    await Promise.all(members.map((member) => member.stop()));
  });

  it("knows its users: one with a role for the prefix reads, writes and watches it, and learns of what others write", async () => {
    const server = startEtcd({ data: path.join(folder, "users"), port: await freePort(), peerPort: await freePort() });
    await using store = await secured(server);
    const { revision } = await store.commit([], [{ key: "/registry/a", value: Buffer.from("1") }], []);
    await assert.rejects(store.commit([], [{ key: "/else", value: Buffer.from("1") }], []));
    await assert.rejects(openEtcdStore({ endpoints: [server.endpoint], user: { name: "berth", password: "wrong" } }));

    // Whoever may read all learns at once of revisions outside of the prefix; who may not, by etcd's progress answers.
    const root = { name: "root", password: "root" };
    await using whole = await openedEtcd({ endpoints: [server.endpoint], user: root });
    const outside = await whole.commit([], [{ key: "/else", value: Buffer.from("1") }], []);
    for (const [reader, progressMs] of [
      [whole, undefined],
      [store, 50],
    ] as const) {
      const events: string[] = [];
      for await (const batch of reader.watch("/registry/", revision, { progressMs })) {
        events.push(...batch.events.map(({ kv }) => kv.key));
        if (batch.revision >= outside.revision) break;
      }
      assert.deepEqual(events, ["/registry/a"]);
    }
    await server.stop();
  });
});

/** Turns users on in a new server and opens the store as one who may use `/registry/` only. */
async function secured(server: Etcd): Promise<Store> {
  await (await openedEtcd({ endpoints: [server.endpoint] })).close();
  const admin = adminOf(server);
  await admin("UserAdd", { name: "root", password: "root" });
  await admin("RoleAdd", { name: "root" });
  await admin("UserGrantRole", { user: "root", role: "root" });
  await admin("UserAdd", { name: "berth", password: "secret" });
  await admin("RoleAdd", { name: "registry" });
  const perm = { permType: "READWRITE", key: Buffer.from("/registry/"), range_end: Buffer.from("/registry0") };
  await admin("RoleGrantPermission", { name: "registry", perm });
  await admin("UserGrantRole", { user: "berth", role: "registry" });
  await admin("AuthEnable", {});
  return openedEtcd({ endpoints: [server.endpoint], user: { name: "berth", password: "secret" } });
}

/** The part of etcd's Auth service that sets up users: https://etcd.io/docs/v3.6/dev-guide/api_reference_v3/ */
const AUTH = `syntax = "proto3";
package etcdserverpb;
message Permission { enum Type { READ = 0; WRITE = 1; READWRITE = 2; } Type permType = 1; bytes key = 2; bytes range_end = 3; }
message UserAdd { string name = 1; string password = 2; }
message UserGrantRole { string user = 1; string role = 2; }
message RoleAdd { string name = 1; }
message RoleGrantPermission { string name = 1; Permission perm = 2; }
message Nothing {}
service Auth {
  rpc AuthEnable(Nothing) returns (Nothing);
  rpc UserAdd(UserAdd) returns (Nothing);
  rpc UserGrantRole(UserGrantRole) returns (Nothing);
  rpc RoleAdd(RoleAdd) returns (Nothing);
  rpc RoleGrantPermission(RoleGrantPermission) returns (Nothing);
}`;

function adminOf({ endpoint }: Etcd): (method: string, request: object) => Promise<void> {
  const definition = loadSync(file("auth.proto", AUTH), { keepCase: true });
  const loaded = grpc.loadPackageDefinition(definition) as unknown as {
    etcdserverpb: { Auth: grpc.ServiceClientConstructor };
  };
  const client = new loaded.etcdserverpb.Auth(new URL(endpoint).host, grpc.credentials.createInsecure());
  type Unary = (request: object, done: (error: Error | null) => void) => void;
  return (method, request) =>
    new Promise((resolve, reject) =>
      (client as unknown as Record<string, Unary>)[method]!(request, (error) => (error ? reject(error) : resolve())),
    );
}
