/** The registry as a cache in front of another one, over images of a fake. */
import assert from "node:assert/strict";
import { once } from "node:events";
import fs from "node:fs";
import http from "node:http";
import type { AddressInfo } from "node:net";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { notFound, seededRandom, silentLogger, systemClock, unavailable } from "../../../base/index.ts";
import { digestOf, FileContentStore, type Digest } from "../../content/index.ts";
import { RegistryServer } from "./index.ts";

const mediaType = "application/vnd.oci.image.manifest.v1+json";
const manifest = (text: string) => Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, annotations: { text } }));

let folder: string;
let base: string;
let stop: () => void;
let upstream: Map<string, Buffer>;
let down: boolean;
let local: Map<string, { bytes: Buffer; pulled: boolean }>;
const asked: string[] = [];

beforeEach(async () => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "berth-through-"));
  asked.length = 0;
  [upstream, local, down] = [new Map(), new Map(), false];
  const random = seededRandom(1);
  const context = {
    instance: "t",
    dataDir: folder,
    runtimeDir: folder,
    clock: systemClock,
    random,
    log: silentLogger,
  };
  const content = await FileContentStore.open(context);
  const images = {
    async manifestFor(name: string) {
      const found = local.get(name);
      return found && { digest: digestOf(found.bytes), mediaType, ...found };
    },
    hasManifest: (digest: Digest) => [...local.values()].some(({ bytes }) => digestOf(bytes) === digest),
    addRoots() {},
    async pull(name: string) {
      asked.push(name);
      if (down) throw unavailable("nobody there");
      const bytes = upstream.get(name);
      if (!bytes) throw notFound("not there");
      await content.write(bytes);
      local.set(name.replace("docker.io/", ""), { bytes, pulled: true });
    },
  };
  const registry = await RegistryServer.open({ context, content, images, pullThrough: true });
  const server = http.createServer((request, response) => registry.handle(request, response));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v2/library/app/manifests`;
  stop = () => {
    server.close();
    server.closeAllConnections();
  };
});
afterEach(() => {
  stop();
  fs.rmSync(folder, { recursive: true, force: true });
});

async function get(target: string): Promise<[number, string]> {
  const answer = await fetch(`${base}/${target}`);
  return [answer.status, await answer.text()];
}

test("what is missing is fetched from upstream, a tag that moved there is followed", async () => {
  const [one, two] = [manifest("1"), manifest("2")];
  upstream.set("docker.io/library/app:1", one);
  assert.deepEqual(await get("1"), [200, one.toString()]);
  upstream.set("docker.io/library/app:1", two);
  assert.deepEqual(await get("1"), [200, two.toString()]);
  assert.equal((await get("absent"))[0], 404);
});

test("with upstream down it serves what it has, and says 502 for what it hasn't", async () => {
  const bytes = manifest("kept");
  upstream.set("docker.io/library/app:1", bytes);
  await get("1");
  down = true;
  assert.deepEqual(await get("1"), [200, bytes.toString()]);
  assert.deepEqual(await get(digestOf(bytes)), [200, bytes.toString()]);
  assert.equal((await get("2"))[0], 502);
});

test("a digest is fetched once; an image that was made here hides upstream's", async () => {
  const bytes = manifest("by digest");
  upstream.set(`docker.io/library/app@${digestOf(bytes)}`, bytes);
  for (const _ of [1, 2]) assert.deepEqual(await get(digestOf(bytes)), [200, bytes.toString()]);
  assert.equal(asked.length, 1);
  local.set("library/app:mine", { bytes: manifest("mine"), pulled: false });
  upstream.set("docker.io/library/app:mine", manifest("theirs"));
  assert.deepEqual(await get("mine"), [200, manifest("mine").toString()]);
  assert.equal(asked.length, 1);
});
