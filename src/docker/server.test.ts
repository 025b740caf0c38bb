import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import http from "node:http";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { conflict, notFound, silentLogger } from "../base/index.ts";
import { empty, hijack, json, jsonLines, stream, type Route } from "./route.ts";
import { createHandler, createServer } from "./server.ts";

const routes: Route[] = [
  {
    method: "GET",
    path: "/echo/{name}",
    handle: ({ params, query, apiMinor }) => json({ params, a: query.text("a"), apiMinor }),
  },
  { method: "GET", path: "/images/{name...}/json", handle: ({ params }) => json(params) },
  { method: "POST", path: "/document", handle: async (request) => json(await request.json()) },
  { method: "POST", path: "/nothing", handle: () => empty() },
  {
    method: "GET",
    path: "/fails",
    handle: () => {
      throw conflict("already there", { hint: "choose another name" });
    },
  },
  { method: "GET", path: "/lines/{failing}", handle: ({ params }) => jsonLines(lines(params["failing"]!)) },
  {
    method: "POST",
    path: "/archive",
    handle: async ({ query, body }) => {
      let bytes = 0;
      for await (const chunk of body) {
        bytes += (chunk as Buffer).byteLength;
        if (!query.bool("refused")) continue;
        body.destroy();
        throw conflict("no archive of ours");
      }
      return json({ bytes });
    },
  },
  { method: "GET", path: "/bytes", handle: () => stream(chunks(), "application/x-tar") },
  {
    method: "POST",
    path: "/attach",
    handle: async (request) => {
      const body = await request.json({ optional: true });
      return hijack(
        async (connection) => {
          connection.write(`begin ${JSON.stringify(body ?? null)} `);
          for await (const chunk of connection.iterator({ destroyOnReturn: false }))
            connection.write(`<${String(chunk)}>`);
          connection.write(" end");
        },
        { multiplexed: true, apiMinor: request.apiMinor },
      );
    },
  },
];

async function* lines(failing: string) {
  if (failing === "first") throw notFound("no such thing");
  yield { n: 1 };
  if (failing === "second") throw notFound("lost on the way");
  yield { n: 2 };
}

async function* chunks() {
  yield "a".repeat(100_000);
  yield Buffer.from("b");
}

let server: http.Server;
let directory: string;
let socketPath: string;
before(async () => {
  directory = await mkdtemp(path.join(os.tmpdir(), "berth-docker-"));
  socketPath = path.join(directory, "docker.sock");
  server = createServer(createHandler(routes, silentLogger));
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
});
after(async () => {
  server.closeAllConnections();
  server.close();
  await rm(directory, { recursive: true });
});

function call(method: string, url: string, body?: string, headers: Record<string, string> = {}) {
  return new Promise<{ status: number; headers: http.IncomingHttpHeaders; text: string }>((resolve, reject) => {
    const request = http.request({ socketPath, method, path: url, headers }, async (response) => {
      const parts: Buffer[] = [];
      for await (const part of response) parts.push(part as Buffer);
      resolve({ status: response.statusCode!, headers: response.headers, text: Buffer.concat(parts).toString() });
    });
    request.on("error", reject);
    request.end(body);
  });
}

test("versions: with and without prefix, too old, too new", async () => {
  assert.deepEqual(JSON.parse((await call("GET", "/v1.41/echo/x%2Fy?a=b%20c")).text), {
    params: { name: "x/y" },
    a: "b c",
    apiMinor: 41,
  });
  assert.equal(JSON.parse((await call("GET", "/echo/x")).text).apiMinor, 50);
  const old = await call("GET", "/v1.12/echo/x");
  assert.equal(old.status, 400);
  assert.match(old.text, /client version 1\.12 is too old\. Minimum supported API version is 1\.24/);
  assert.match((await call("GET", "/v1.99/echo/x")).text, /client version 1\.99 is too new/);
});

test("paths: image names keep their slashes; what no route has is a 404 with Docker's body", async () => {
  assert.deepEqual(JSON.parse((await call("GET", "/images/host:5000/a/b:1/json")).text), { name: "host:5000/a/b:1" });
  const missing = await call("PATCH", "/echo/x");
  assert.equal(missing.status, 404);
  assert.deepEqual(JSON.parse(missing.text), { message: "page not found" });
});

test("bodies: JSON objects only, of the right type, complete and not too deep", async () => {
  const asJson = { "content-type": "application/json" };
  assert.deepEqual(JSON.parse((await call("POST", "/document", '{"a":1}', asJson)).text), { a: 1 });
  assert.equal((await call("POST", "/document", '{"a":', asJson)).status, 400);
  assert.match((await call("POST", "/document", "", asJson)).text, /got EOF/);
  assert.match(
    (await call("POST", "/document", "{}", { "content-type": "text/plain" })).text,
    /must be 'application\/json'/,
  );
  assert.equal((await call("POST", "/document", `{"a":${"[".repeat(1000)}${"]".repeat(1000)}}`, asJson)).status, 400);
  assert.equal((await call("POST", "/document", `{"a":"${"x".repeat(4 * 1024 * 1024)}"}`, asJson)).status, 400);
});

test("answers: empty ones, errors with their way out, streams", async () => {
  assert.equal((await call("POST", "/nothing")).status, 204);
  const failed = await call("GET", "/fails");
  assert.equal(failed.status, 409);
  assert.deepEqual(JSON.parse(failed.text), { message: "already there (choose another name)" });
  assert.equal((await call("GET", "/bytes")).text.length, 100_001);
});

test("an archive is read whole, and one that is refused half read still hears why", async () => {
  const archive = "x".repeat(8 << 20);
  assert.deepEqual(JSON.parse((await call("POST", "/archive", archive)).text), { bytes: archive.length });
  assert.deepEqual(JSON.parse((await call("POST", "/archive", "")).text), { bytes: 0 });
  const refused = await call("POST", "/archive?refused=1", archive);
  assert.deepEqual([refused.status, JSON.parse(refused.text)], [409, { message: "no archive of ours" }]);
});

test("a refusal before the body was read: the client may still send it, and the connection serves the next request", async () => {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const body = "x".repeat(1024 * 1024);
  const statuses = await Promise.all([1, 2].map(() => refused(agent, body)));
  agent.destroy();
  assert.deepEqual(statuses, [404, 404]);
});

function refused(agent: http.Agent, body: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const request = http.request({ socketPath, agent, method: "POST", path: "/no/such/path" }, (response) => {
      response.resume();
      response.on("end", () => resolve(response.statusCode!));
    });
    request.on("error", reject);
    request.end(body);
  });
}

test("progress: an error before the first line has a status, a later one is a line", async () => {
  assert.equal((await call("GET", "/lines/first")).status, 404);
  assert.equal((await call("GET", "/lines/never")).text, '{"n":1}\r\n{"n":2}\r\n');
  const cut = await call("GET", "/lines/second");
  assert.equal(cut.status, 200);
  assert.equal(cut.text.split("\r\n")[1], '{"errorDetail":{"message":"lost on the way"},"error":"lost on the way"}');
});

/** Speaks raw HTTP: sends `parts` one after the other, half-closes and reads to the end. */
async function raw(...parts: string[]): Promise<string> {
  const socket = net.connect({ path: socketPath, allowHalfOpen: true });
  for (const part of parts) {
    await new Promise((resolve) => socket.write(part, resolve));
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  socket.end();
  let text = "";
  for await (const chunk of socket) text += String(chunk);
  return text;
}

const UPGRADE = "Host: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n";

test("hijack: 101 with the body read first, then raw in both directions and half-closed", async () => {
  const body = '{"Detach":false}';
  const head = `POST /v1.43/attach HTTP/1.1\r\n${UPGRADE}Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`;
  const text = await raw(head, body.slice(0, 5), `${body.slice(5)}`, "typed");
  assert.match(text, /^HTTP\/1\.1 101 UPGRADED\r\n/);
  assert.match(text, /content-type: application\/vnd\.docker\.multiplexed-stream/);
  assert.match(text, /\r\n\r\nbegin \{"Detach":false\} <typed> end$/);
});

test("hijack: input that comes with the head, and the framing's name before v1.42", async () => {
  const text = await raw(`POST /v1.41/attach HTTP/1.1\r\n${UPGRADE}\r\nearly`);
  assert.match(text, /vnd\.docker\.raw-stream/);
  assert.match(text, /begin null <early> end$/);
});

test("hijack: dockerode's open-ended body ends with an empty chunk", async () => {
  const text = await raw(`POST /attach HTTP/1.1\r\n${UPGRADE}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nraw`);
  assert.match(text, /begin null <raw> end$/);
});

test("hijack without an upgrade answers 200 and an unframed body", async () => {
  const text = await raw("POST /attach HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n");
  assert.match(text, /^HTTP\/1\.1 200 OK\r\n/);
  assert.doesNotMatch(text, /transfer-encoding/i);
  assert.match(text, /begin null {2}end$/);
});

test("an error on an upgrade request is an ordinary answer", async () => {
  const text = await raw(`GET /fails HTTP/1.1\r\n${UPGRADE}\r\n`);
  assert.match(text, /^HTTP\/1\.1 409 /);
  assert.match(text, /already there/);
});
