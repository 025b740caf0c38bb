import assert from "node:assert/strict";
import http from "node:http";
import http2 from "node:http2";
import type { AddressInfo } from "node:net";
import { after, test } from "node:test";
import { systemClock } from "../../base/index.ts";
import { IngressListener } from "./listener.ts";
import type { Target } from "./messages.ts";

const closing: (() => unknown)[] = [];
after(() => Promise.all(closing.map((close) => close())));

async function listening(server: http.Server | http2.Http2Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return (server.address() as AddressInfo).port;
}

async function front(target: () => Target): Promise<number> {
  const listener = new IngressListener({ clock: systemClock, resolve: target, certificate: () => undefined });
  closing.push(() => listener.close());
  return listener.listen("127.0.0.1", { http: 0 });
}

test("a backend of HTTP/2 without TLS: requests, bodies and trailers, as gRPC needs them", async () => {
  const backend = http2.createServer();
  backend.on("stream", (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders) => {
    stream.respond(
      { ":status": 200, "content-type": "application/grpc", "x-te": String(headers.te) },
      { waitForTrailers: true },
    );
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
    stream.pipe(stream);
  });
  const port = await listening(backend);
  const session = http2.connect(`http://127.0.0.1:${await front(() => ({ host: "127.0.0.1", port, http2: true }))}`);
  closing.push(
    () => session.destroy(),
    () => backend.close(),
  );
  const stream = session.request({ ":method": "POST", ":path": "/svc/Call", te: "trailers" });
  const seen: { status?: number; te?: string; trailers?: object; body: string } = { body: "" };
  stream.on("response", (headers) => Object.assign(seen, { status: headers[":status"], te: headers["x-te"] }));
  stream.on("trailers", (trailers) => Object.assign(seen, { trailers: Object.fromEntries(Object.entries(trailers)) }));
  stream.setEncoding("utf8").on("data", (chunk: string) => (seen.body += chunk));
  stream.end("ping");
  await new Promise((resolve) => stream.once("end", resolve));
  assert.deepEqual(seen, { body: "ping", status: 200, te: "trailers", trailers: { "grpc-status": "0" } });
});

test("edits on the way: headers, path, host; a mirror gets a copy; a backend that is not there is 502", async () => {
  const heard: string[] = [];
  const mirrored = Promise.withResolvers<string>();
  const backend = http.createServer((request, response) => {
    heard.push(`${request.url} ${request.headers.host} ${String(request.headers["x-a"])}`);
    response.setHeader("server", "secret");
    request.pipe(response);
  });
  const copy = http.createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += String(chunk);
    mirrored.resolve(body);
    response.end();
  });
  const [port, copyPort] = [await listening(backend), await listening(copy)];
  for (const server of [backend, copy]) closing.push(() => server.close());
  const edits = {
    request: [{ set: [{ name: "X-A", value: "1" }] }],
    response: [{ remove: ["Server"], add: [{ name: "x-b", value: "2" }] }],
    path: "/inner",
    hostname: "inner.example",
    mirrors: [{ host: "127.0.0.1", port: copyPort }],
  };
  const at = await front(() => ({ host: "127.0.0.1", port, edits }));
  const response = await fetch(`http://127.0.0.1:${at}/outer`, { method: "POST", body: "both" });
  assert.equal(await response.text(), "both");
  assert.deepEqual([response.headers.get("server"), response.headers.get("x-b")], [null, "2"]);
  assert.deepEqual(heard, ["/inner inner.example 1"]);
  assert.equal(await mirrored.promise, "both");
  const free = http.createServer();
  const gone = await listening(free);
  await new Promise((resolve) => free.close(resolve));
  for (const asHttp2 of [false, true]) {
    const nobody = await front(() => ({ host: "127.0.0.1", port: gone, http2: asHttp2 }));
    assert.equal((await fetch(`http://127.0.0.1:${nobody}/`)).status, 502);
  }
});

test("a backend that takes too long is 504", async () => {
  const slow = http.createServer(() => {});
  const port = await listening(slow);
  closing.push(() => {
    slow.closeAllConnections();
    slow.close();
  });
  const at = await front(() => ({ host: "127.0.0.1", port, timeoutMs: 20 }));
  const response = await fetch(`http://127.0.0.1:${at}/`);
  assert.equal(response.status, 504);
  assert.match(await response.text(), /within 20 ms/);
});
