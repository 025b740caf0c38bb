import assert from "node:assert/strict";
import { once } from "node:events";
import fs from "node:fs";
import http, { type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import os from "node:os";
import path from "node:path";
import { Readable } from "node:stream";
import { afterEach, beforeEach, test } from "node:test";
import { BerthError, FakeClock, seededRandom, silentLogger, systemClock } from "../../base/index.ts";
import { digestOf, FileContentStore } from "../content/index.ts";
import { startDownload } from "../image/transfer/download.ts";
import { parseChallenge } from "./auth.ts";
import { readBody } from "./body.ts";
import { checkLogin, RegistrySession } from "./client.ts";
import { endpointsOf } from "./endpoints.ts";
import { Transport } from "./transport.ts";
import type { RegistryAuth, RegistryConfig } from "./types.ts";

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

let server: http.Server;
let domain: string;
let answer: Answer;
let folder: string;
let transport: Transport;
const seen: IncomingMessage[] = [];

beforeEach(async () => {
  seen.length = 0;
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "berth-client-"));
  server = http.createServer((request, response) => {
    seen.push(request);
    answer(request, response);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  domain = `127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterEach(() => {
  transport?.close();
  server.closeAllConnections();
  server.close();
  fs.rmSync(folder, { recursive: true, force: true });
});

/** Pauses between attempts pass at once. */
class HastyClock extends FakeClock {
  readonly sleptMs: number[] = [];
  override async sleep(delayMs: number): Promise<void> {
    this.sleptMs.push(delayMs);
  }
}

function open(options: { auth?: RegistryAuth; config?: RegistryConfig; domain?: string } = {}) {
  const clock = new HastyClock();
  const config = options.config ?? {};
  transport = new Transport(config);
  const environment = { transport, config, clock, random: seededRandom(1) };
  return {
    clock,
    environment,
    session: new RegistrySession(environment, { domain: options.domain ?? domain, path: "a/b" }, options.auth, "pull"),
  };
}

function content() {
  const context = {
    instance: "t",
    dataDir: folder,
    runtimeDir: folder,
    clock: systemClock,
    random: seededRandom(2),
    log: silentLogger,
  };
  return FileContentStore.open(context);
}

const blob = Buffer.alloc(300_000, "berth");
const descriptor = { mediaType: "application/octet-stream", digest: digestOf(blob), size: blob.byteLength };

function serveRange(request: IncomingMessage, response: ServerResponse, stopAt: number, bytes = blob): void {
  const start = Number(/bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0);
  response.writeHead(start > 0 ? 206 : 200, { "content-length": String(bytes.byteLength - start) });
  if (stopAt >= bytes.byteLength) return void response.end(bytes.subarray(start));
  response.write(bytes.subarray(start, stopAt), () => setImmediate(() => response.destroy()));
}

test("a download that breaks goes on where it broke", async () => {
  const store = await content();
  const stops = [100_000, 200_000, Infinity];
  answer = (request, response) => serveRange(request, response, stops.shift()!);
  const { session } = open();
  const download = await startDownload(descriptor, {
    content: store,
    session,
    signal: new AbortController().signal,
  });
  await download.done;
  assert.deepEqual(await store.read(descriptor.digest), blob);
  assert.equal(seen.length, 3);
  assert.match(seen[2]!.headers.range!, /^bytes=[1-9]\d*-$/);
});

test("what a canceled download left is used by the next one", async () => {
  const store = await content();
  answer = (request, response) => {
    response.writeHead(200, { "content-length": String(blob.byteLength) });
    response.write(blob.subarray(0, 50_000));
  };
  const { session } = open();
  const abort = new AbortController();
  const arrived = Promise.withResolvers<void>();
  const first = await startDownload(descriptor, {
    content: store,
    session,
    signal: abort.signal,
    onBytes: (bytes) => bytes >= 50_000 && arrived.resolve(),
  });
  await arrived.promise;
  abort.abort();
  await assert.rejects(first.done);
  answer = (request, response) => serveRange(request, response, Infinity);
  const again = await startDownload(descriptor, {
    content: store,
    session,
    signal: new AbortController().signal,
  });
  await again.done;
  assert.equal(seen.at(-1)!.headers.range, "bytes=50000-");
});

test("a blob is sent while nobody knows its digest yet, and closed with it", async () => {
  const asked: string[] = [];
  answer = async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    asked.push(`${request.method} ${request.url} ${Buffer.concat(chunks).toString()}`);
    const location = request.method === "POST" ? "/v2/upload/1?state=a" : "/v2/upload/1?state=b";
    response.writeHead(request.method === "PUT" ? 201 : 202, { location }).end();
  };
  const digest = digestOf("late");
  await open().session.pushGrowing(
    async () => Readable.from(["la", "te"]),
    async () => digest,
  );
  assert.deepEqual(asked, [
    "POST /v2/a/b/blobs/uploads/ ",
    "PATCH /v2/upload/1?state=a late",
    `PUT /v2/upload/1?state=b&digest=${encodeURIComponent(digest)} `,
  ]);
});

test("content with another digest is refused and not kept", async () => {
  const store = await content();
  answer = (request, response) => serveRange(request, response, Infinity, Buffer.alloc(blob.byteLength, "wrong"));
  const { session } = open();
  const download = await startDownload(descriptor, {
    content: store,
    session,
    signal: new AbortController().signal,
  });
  await assert.rejects(download.done, /has digest/);
  assert.equal(store.has(descriptor.digest), false);
  assert.equal(store.hasUpload(`pull ${descriptor.digest}`), false);
});

test("a failing server is asked again with growing pauses, then given up", async () => {
  answer = (_, response) => response.writeHead(503).end();
  const { session, clock } = open();
  await assert.rejects(session.hasBlob(descriptor.digest), { code: "unavailable" });
  assert.equal(seen.length, 5);
  assert.ok(clock.sleptMs.at(-1)! > clock.sleptMs[0]!, `pauses were ${clock.sleptMs.join(", ")}`);
  seen.length = 0;
  answer = (_, response) => (seen.length < 3 ? response.writeHead(503).end() : response.writeHead(200).end());
  assert.equal(await open().session.hasBlob(descriptor.digest), true);
});

test("a request is tried as often as the configuration says", async () => {
  answer = (_, response) => response.writeHead(503).end();
  await assert.rejects(open({ config: { transfers: { attempts: 2 } } }).session.hasBlob(descriptor.digest));
  assert.equal(seen.length, 2);
});

test("a limit on requests is said plainly", async () => {
  answer = (_, response) =>
    response
      .writeHead(429, { "content-type": "application/json" })
      .end('{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}');
  const { session } = open();
  await assert.rejects(session.manifest("latest"), {
    code: "resourceExhausted",
    message: /limits how often.*slow down/,
  });
});

test("tags are asked for page by page, from the same host only", async () => {
  answer = (request, response) => {
    const last = request.url!.includes("last=b");
    const link = last ? '<https://elsewhere.example/v2/>; rel="next"' : '</v2/a/b/tags/list?last=b>; rel="next"';
    response.setHeader("link", link);
    response.end(JSON.stringify({ name: "a/b", tags: last ? ["c"] : ["a", "b"] }));
  };
  assert.deepEqual(await open().session.tags(), ["a", "b", "c"]);
});

test("a manifest with another digest than asked for is refused", async () => {
  answer = (_, response) =>
    response.writeHead(200, { "content-type": "application/vnd.oci.image.manifest.v1+json" }).end("{}");
  const { session } = open();
  await assert.rejects(session.manifest(descriptor.digest), /has digest/);
});

test("a token is fetched once from where the registry says, with the user's password", async () => {
  answer = (request, response) => {
    if (request.url!.startsWith("/token")) {
      assert.equal(request.headers.authorization, `Basic ${Buffer.from("u:p").toString("base64")}`);
      assert.match(request.url!, /service=reg&scope=repository%3Aa%2Fb%3Apull/);
      return void response.end('{"token":"T"}');
    }
    if (request.headers.authorization === "Bearer T") return void response.writeHead(200).end();
    const challenge = `Bearer realm="http://${domain}/token",service="reg",scope="repository:a/b:pull"`;
    return void response.writeHead(401, { "www-authenticate": challenge }).end();
  };
  const { session } = open({ auth: { username: "u", password: "p" } });
  assert.equal(await session.hasBlob(descriptor.digest), true);
  assert.equal(await session.hasBlob(descriptor.digest), true);
  assert.equal(seen.filter((request) => request.url!.startsWith("/token")).length, 1);
});

test("basic login is checked; without credentials the way out is told", async () => {
  const good = `Basic ${Buffer.from("u:p").toString("base64")}`;
  answer = (request, response) =>
    void (request.headers.authorization === good
      ? response.writeHead(200).end("{}")
      : response.writeHead(401, { "www-authenticate": 'Basic realm="r"' }).end());
  const { environment, session } = open();
  await checkLogin(environment, domain, { username: "u", password: "p" });
  await assert.rejects(checkLogin(environment, domain, { username: "u", password: "no" }), { code: "unauthenticated" });
  await assert.rejects(session.manifest("latest"), { code: "unauthenticated", hint: `docker login ${domain}` });
});

test("a mirror is asked first and the registry when the mirror has it not; credentials stay with the registry", async () => {
  const config = { mirrors: { [domain]: [`http://${domain}/mirror`] } };
  answer = (request, response) => {
    if (request.url!.startsWith("/mirror/")) return void response.writeHead(404).end();
    return void response
      .writeHead(200, { "content-type": "application/vnd.oci.image.index.v1+json" })
      .end('{"schemaVersion":2,"manifests":[]}');
  };
  const { session } = open({ config, auth: { registrytoken: "SECRET" } });
  await session.manifest("latest");
  assert.deepEqual(
    seen.map((request) => request.url),
    ["/mirror/v2/a/b/manifests/latest", "/v2/a/b/manifests/latest"],
  );
  assert.deepEqual(
    seen.map((request) => request.headers.authorization),
    [undefined, "Bearer SECRET"],
  );
});

test("a mirror that is down or fails costs one attempt, then the registry is asked", async () => {
  const closed = http.createServer().listen(0, "127.0.0.1");
  await once(closed, "listening");
  const { port } = closed.address() as AddressInfo;
  closed.close();
  await once(closed, "close");
  const mirrors = [`http://127.0.0.1:${port}`, `http://${domain}/mirror`];
  answer = (request, response) => {
    if (request.url!.startsWith("/mirror/")) return void response.writeHead(503).end();
    return void response
      .writeHead(200, { "content-type": "application/vnd.oci.image.index.v1+json" })
      .end('{"schemaVersion":2,"manifests":[]}');
  };
  const { session } = open({ config: { mirrors: { [domain]: mirrors } } });
  await session.manifest("latest");
  assert.deepEqual(
    seen.map((request) => request.url),
    ["/mirror/v2/a/b/manifests/latest", "/v2/a/b/manifests/latest"],
  );
});

test("a limit that names a short time is waited for, a long one is told at once", async () => {
  answer = (_, response) =>
    seen.length < 2 ? response.writeHead(429, { "retry-after": "3" }).end() : response.writeHead(200).end();
  const { session, clock } = open();
  assert.equal(await session.hasBlob(descriptor.digest), true);
  assert.deepEqual(clock.sleptMs, [3000]);
  seen.length = 0;
  answer = (_, response) => response.writeHead(429, { "retry-after": "3600" }).end();
  const late = open();
  await assert.rejects(late.session.hasBlob(descriptor.digest), (error: BerthError) => {
    assert.equal(error.code, "resourceExhausted");
    assert.match(error.hint ?? "", /log in .* or set up a mirror/);
    return true;
  });
  assert.deepEqual([seen.length, late.clock.sleptMs.length], [1, 0]);
});

test("credentials don't follow a redirect to another host", async () => {
  const other = http.createServer((request, response) => response.end(request.headers.authorization ?? "none"));
  other.listen(0, "127.0.0.2");
  await once(other, "listening");
  answer = (_, response) =>
    response.writeHead(307, { location: `http://127.0.0.2:${(other.address() as AddressInfo).port}/x` }).end();
  const { session } = open({ auth: { registrytoken: "SECRET" } });
  assert.equal((await readBody(await session.blob(descriptor.digest))).toString(), "none");
  assert.equal((await readBody((await session.largeBlob(descriptor.digest, 0)).body)).toString(), "none");
  other.closeAllConnections();
  other.close();
});

test("plain HTTP only where it is allowed", () => {
  const bases = (name: string, config: RegistryConfig = {}) =>
    endpointsOf(name, config).map((endpoint) => endpoint.base);
  assert.deepEqual(bases("docker.io"), ["https://registry-1.docker.io"]);
  assert.deepEqual(bases("ghcr.io"), ["https://ghcr.io"]);
  assert.deepEqual(bases("127.9.9.9:5000"), ["http://127.9.9.9:5000", "https://127.9.9.9:5000"]);
  assert.deepEqual(bases("10.1.2.3:5000", { insecureRegistries: ["10.0.0.0/8"] }), [
    "https://10.1.2.3:5000",
    "http://10.1.2.3:5000",
  ]);
});

test("challenges are parsed", () => {
  assert.deepEqual(parseChallenge('Bearer realm="https://a/b?c,d",service="x y", scope=z'), {
    scheme: "bearer",
    parameters: { realm: "https://a/b?c,d", service: "x y", scope: "z" },
  });
  assert.equal(parseChallenge(undefined), undefined);
});
