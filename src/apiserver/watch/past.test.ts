import assert from "node:assert/strict";
import { test } from "node:test";
import type { ApiWatchEvent, KubeObject } from "../../api/index.ts";
import { FakeClock, seededRandom, silentLogger } from "../../base/index.ts";
import { openMemoryStore } from "../../storage/index.ts";
import { builtinKinds, createApiServer } from "../index.ts";

const MAPS = "/api/v1/namespaces/default/configmaps";
const user = { name: "admin", groups: ["system:masters"] };

test("a watch goes on where it stood though the server was started anew, until the store has forgotten", async () => {
  const clock = new FakeClock();
  const store = await openMemoryStore({ clock });
  const open = () =>
    createApiServer({ clock, random: seededRandom(1), log: silentLogger, store, kinds: builtinKinds() });
  let server = await open();
  const ask = (method: "GET" | "POST" | "PUT" | "DELETE", path: string, object?: object, query = "") =>
    server.handler({ method, path, query: new URLSearchParams(query), headers: {}, object, user });
  const map = (name: string, app: string) => ({ metadata: { name, labels: { app } } });
  await ask("POST", "/api/v1/namespaces", { metadata: { name: "default" } });
  await ask("POST", MAPS, map("old", "web"));
  const { metadata } = (await ask("GET", MAPS)).object as KubeObject;
  const from = metadata.resourceVersion!;
  await ask("POST", MAPS, map("a", "web"));
  await ask("PUT", `${MAPS}/old`, map("old", "db"));
  await ask("POST", "/api/v1/namespaces/default/secrets", { metadata: { name: "not-mine" } });
  await ask("DELETE", `${MAPS}/a`);
  await server.close();
  server = await open();

  const watched = async (selector: string, count: number) => {
    const query = `watch=1&resourceVersion=${from}&labelSelector=${selector}`;
    const seen: string[] = [];
    for await (const event of (await ask("GET", MAPS, undefined, query)).events! as AsyncIterable<ApiWatchEvent>) {
      const object = event.object as KubeObject & { reason?: string };
      seen.push(`${event.type} ${object.reason ?? object.metadata.name}`);
      if (seen.length === count) break;
    }
    return seen;
  };
  assert.deepEqual(await watched("", 3), ["ADDED a", "MODIFIED old", "DELETED a"]);
  assert.deepEqual(await watched("app%3Dweb", 3), ["ADDED a", "DELETED old", "DELETED a"]);
  const live = watched("", 4);
  await ask("POST", MAPS, map("new", "web"));
  assert.deepEqual((await live).at(-1), "ADDED new");

  await store.compact(await store.revision());
  assert.deepEqual(await watched("", 1), ["ERROR Expired"]);
  await server.close();
  await store.close();
});
