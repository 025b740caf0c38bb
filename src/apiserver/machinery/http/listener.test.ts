import assert from "node:assert/strict";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { test } from "node:test";
import { gunzipSync } from "node:zlib";
import { silentLogger } from "../../../base/index.ts";
import type { ApiHandler } from "../../../api/index.ts";
import { startFixture } from "../testing/fixture.ts";
import { listen } from "./listener.ts";

const MAPS = "/api/v1/namespaces/default/configmaps";

interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly body: Buffer;
}

function ask(port: number, method: string, path: string, body?: string, headers = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({ port, host: "127.0.0.1", method, path, headers, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("end", () =>
        resolve({ status: response.statusCode!, headers: response.headers, body: Buffer.concat(chunks) }),
      );
    });
    request.on("error", reject);
    request.end(body);
  });
}

test("objects go over the wire as they are; large answers compressed for who asks; large bodies refused", async () => {
  await using api = await startFixture();
  const { port } = await api.server.listen();
  const created = await ask(
    port,
    "POST",
    MAPS,
    JSON.stringify({ metadata: { name: "a" }, data: { k: "x".repeat(200_000) } }),
  );
  assert.equal(created.status, 201);
  const plain = await ask(port, "GET", `${MAPS}/a`);
  assert.deepEqual(plain.body, created.body);
  const packed = await ask(port, "GET", `${MAPS}/a`, undefined, { "accept-encoding": "gzip" });
  assert.equal(packed.headers["content-encoding"], "gzip");
  assert.deepEqual(gunzipSync(packed.body), plain.body);
  const large = await ask(port, "POST", MAPS, "x".repeat(3 * 1024 * 1024 + 1)).catch(() => undefined);
  if (large) assert.equal(large.status, 413);
  assert.equal((await ask(port, "GET", "/none")).status, 404);
});

test("a watch is one line per event, and ends when the server does", async () => {
  const api = await startFixture();
  const { port } = await api.server.listen();
  const lines: string[] = [];
  const ended = new Promise<void>((resolve, reject) => {
    const request = httpRequest({ port, host: "127.0.0.1", path: `${MAPS}?watch=1`, agent: false }, (response) => {
      let text = "";
      response.on("data", (chunk: Buffer) => {
        text += chunk.toString();
        for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n")) {
          lines.push(text.slice(0, end));
          text = text.slice(end + 1);
        }
        if (lines.length === 3) void api[Symbol.asyncDispose]();
      });
      response.on("close", resolve);
      response.on("error", () => resolve());
      void (async () => {
        for (const name of ["a", "b", "c"]) await api.ok("POST", MAPS, { metadata: { name } });
      })();
    });
    request.on("error", reject);
    request.end();
  });
  await ended;
  const events = lines.map((line) => JSON.parse(line) as { type: string; object: { metadata: { name: string } } });
  assert.deepEqual(
    events.map(({ type, object }) => `${type} ${object.metadata.name}`),
    ["ADDED a", "ADDED b", "ADDED c"],
  );
});

test("an upgrade hands the connection over, or answers why not", async () => {
  const handler: ApiHandler = async ({ path }) => {
    if (path !== "/echo") return { status: 403, headers: {}, body: Buffer.from("no") };
    return {
      status: 101,
      headers: {},
      takeover: (socket) => {
        socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
        socket.pipe(socket);
      },
    };
  };
  const listener = await listen(handler, {}, silentLogger);
  const upgrade = (path: string) =>
    new Promise<string>((resolve, reject) => {
      const headers = { connection: "Upgrade", upgrade: "echo" };
      const request = httpRequest({ port: listener.port, host: "127.0.0.1", path, headers, agent: false });
      request.on("upgrade", (_response, socket) => {
        socket.once("data", (chunk: Buffer) => {
          resolve(chunk.toString());
          socket.destroy();
        });
        socket.write("hello");
      });
      request.on("response", (response) => resolve(String(response.statusCode)));
      request.on("error", reject);
      request.end();
    });
  assert.equal(await upgrade("/echo"), "hello");
  assert.equal(await upgrade("/other"), "403");
  await listener.close();
});
