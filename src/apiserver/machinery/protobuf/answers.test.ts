import assert from "node:assert/strict";
import { test } from "node:test";
import type { ApiResponse, KubeObject } from "../../../api/index.ts";
import { FakeClock, seededRandom, settle, silentLogger } from "../../../base/index.ts";
import { openMemoryStore } from "../../../storage/index.ts";
import { builtinKinds, createApiServer } from "../../index.ts";
import { WatchStream } from "../watch.ts";
import { decodeProtobuf } from "./decode.ts";

const ONLY = "application/vnd.kubernetes.protobuf";
const MAPS = "/api/v1/namespaces/default/configmaps";

async function opened() {
  const clock = new FakeClock();
  const store = await openMemoryStore({ clock });
  const options = { clock, random: seededRandom(1), log: silentLogger, store, kinds: builtinKinds() };
  const server = await createApiServer(options);
  const user = { name: "admin", groups: ["system:masters"] };
  const ask = (method: "GET" | "POST", path: string, accept: string, object?: object, query = "") =>
    server.handler({ method, path, query: new URLSearchParams(query), headers: { accept }, object, user });
  await ask("POST", "/api/v1/namespaces", ONLY, { metadata: { name: "default" } });
  const close = async () => {
    await server.close();
    await store.close();
  };
  return { ask, [Symbol.asyncDispose]: close };
}
const read = (response: ApiResponse) => {
  assert.equal(response.headers["content-type"], ONLY);
  return decodeProtobuf(response.body!) as KubeObject & { items: KubeObject[] };
};

test("objects, lists and errors come in protobuf to who asks for it alone", async () => {
  await using api = await opened();
  const made = read(await api.ask("POST", MAPS, ONLY, { metadata: { name: "a" }, data: { k: "v" } }));
  assert.deepEqual([made.kind, made["data"]], ["ConfigMap", { k: "v" }]);
  const json = (await api.ask("GET", `${MAPS}/a`, "application/json")).object as KubeObject;
  assert.deepEqual(read(await api.ask("GET", `${MAPS}/a`, `${ONLY},application/json`)), json);
  const list = read(await api.ask("GET", MAPS, ONLY));
  assert.equal(list.kind, "ConfigMapList");
  assert.deepEqual(
    list.items.map(({ metadata }) => metadata),
    [json.metadata],
  );
  const missing = await api.ask("GET", `${MAPS}/none`, ONLY);
  assert.deepEqual([missing.status, read(missing)["reason"]], [404, "NotFound"]);
  const partial = read(await api.ask("GET", MAPS, `${ONLY};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1`));
  assert.deepEqual([partial.kind, partial.items[0]!.metadata], ["PartialObjectMetadataList", json.metadata]);
});

test("a watch comes in frames, and what has no protobuf in the next form that the client takes", async () => {
  await using api = await opened();
  const { resourceVersion } = read(await api.ask("GET", MAPS, ONLY)).metadata;
  const watch = await api.ask("GET", MAPS, ONLY, undefined, `watch=1&resourceVersion=${resourceVersion}`);
  assert.equal(watch.headers["content-type"], `${ONLY};stream=watch`);
  const written: Uint8Array[] = [];
  assert.ok(watch.events instanceof WatchStream);
  const sink = { write: (bytes: Uint8Array) => void written.push(bytes), end() {}, destroy() {}, bufferedBytes: 0 };
  const stop = await watch.events.pipe(sink);
  await api.ask("POST", MAPS, ONLY, { metadata: { name: "a" } });
  for (let turn = 0; turn < 20 && written.length === 0; turn++) await settle();
  stop();
  const bytes = Buffer.concat(written);
  assert.equal(bytes.length, 4 + bytes.readUInt32BE(0));
  // WatchEvent: field 1 is the type, field 2 holds a RawExtension whose field 1 is the object's body.
  assert.equal(bytes.subarray(4, 11).toString("latin1"), "\n\u0005ADDED");
  const object = decodeProtobuf(bytes.subarray(bytes.indexOf("k8s\0"))) as unknown as KubeObject;
  assert.deepEqual([object.kind, object.metadata.name], ["ConfigMap", "a"]);

  const table = await api.ask("GET", MAPS, `${ONLY};as=Table;g=meta.k8s.io;v=v1,application/json`);
  assert.equal(table.headers["content-type"], "application/json");
  const refused = await api.ask("GET", MAPS, "application/cbor");
  assert.match(
    (refused.object as { message: string }).message,
    /only the following media types are accepted: .*protobuf/,
  );
});
