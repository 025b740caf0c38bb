import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import net, { type AddressInfo } from "node:net";
import { afterEach, beforeEach, test } from "node:test";
import { Intake } from "./intake.ts";
import { receive, type Received } from "./receive.ts";

let server: net.Server;
let answer: (socket: net.Socket) => void;
let asked: string;

beforeEach(async () => {
  asked = "";
  server = net.createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", (data) => {
      asked += data.toString("latin1");
      if (asked.endsWith("\r\n\r\n")) answer(socket);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
});
afterEach(() => void server.close());

function ask(options: { headers?: Record<string, string>; silenceMs?: number; signal?: AbortSignal } = {}) {
  const url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/a%20b?c=d`);
  return receive({ url, headers: {}, tls: {}, silenceMs: 60_000, ...options });
}

/** The body, each piece copied before the next one is asked for. */
async function bytesOf({ body }: Received): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of body) pieces.push(Buffer.from(piece));
  body.destroy();
  return Buffer.concat(pieces);
}

/** Sends byte by byte, so that everything is cut everywhere. */
async function dribble(socket: net.Socket, text: string): Promise<void> {
  for (const byte of text) {
    socket.write(byte);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

test("the request is plain HTTP/1.1, and no header can smuggle another", async () => {
  answer = (socket) => socket.end("HTTP/1.1 204 No Content\r\nX-One: 1\r\nx-one:2 \r\n\r\n");
  const { status, headers, body } = await ask({ headers: { range: "bytes=5-" } });
  body.destroy();
  assert.deepEqual([status, headers], [204, { "x-one": "1, 2" }]);
  assert.match(
    asked,
    /^GET \/a%20b\?c=d HTTP\/1\.1\r\nhost: 127\.0\.0\.1:\d+\r\nconnection: close\r\nrange: bytes=5-\r\n\r\n$/,
  );
  await assert.rejects(ask({ headers: { authorization: "a\r\nx: y" } }), { code: "ERR_INVALID_CHAR" });
});

for (const [name, wire] of [
  ["a length", "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world and more"],
  ["chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nhello \r\n5;x=y\r\nworld\r\n0\r\n\r\n"],
  ["the connection's end", "HTTP/1.1 200 OK\r\n\r\nhello world"],
  [
    "a length, after an informational answer",
    "HTTP/1.1 103 Early\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nhello world",
  ],
] as const)
  test(`a body that ends by ${name}, however it is cut`, async () => {
    answer = (socket) => void socket.end(wire);
    assert.equal((await bytesOf(await ask())).toString(), "hello world");
    answer = (socket) => void dribble(socket, wire).then(() => socket.end());
    asked = "";
    assert.equal((await bytesOf(await ask())).toString(), "hello world");
  });

test("what is broken or cut short is refused", async () => {
  const refused = async (wire: string, why: RegExp) => {
    asked = "";
    answer = (socket) => void socket.end(wire);
    await assert.rejects(async () => bytesOf(await ask()), why);
  };
  await refused("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell", /ended in the middle/);
  await refused("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhell", /ended in the middle/);
  await refused("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", /broken chunk/);
  await refused("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n", /coded as gzip/);
  await refused("HTTP/1.1 200 OK\r\ncontent-length: 5, 6\r\n\r\nhello", /length 5, 6/);
  await refused("HTTP/1.1 200 OK\r\ncontent-", /ended in the middle/);
  await refused("SSH-2.0-OpenSSH\r\n", /isn't HTTP/);
  await refused(`HTTP/1.1 200 OK\r\nx: ${"y".repeat(20_000)}\r\n\r\n`, /line of more than/);
  await refused(`HTTP/1.1 200 OK\r\n${"x: y\r\n".repeat(300)}\r\n`, /more than 256 header fields/);
  server.close();
});

test("a slow reader makes the sender wait, and gets every byte", async () => {
  const sent = randomBytes(8 << 20);
  let backedUp = 0;
  answer = (socket) => {
    socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${sent.byteLength}\r\n\r\n`);
    socket.end(sent);
    backedUp = socket.writableLength;
  };
  const received = await ask();
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.ok(backedUp > 0);
  assert.ok(sent.equals(await bytesOf(received)));
});

test("cancellation and silence end it, before the answer and within", async () => {
  const silence = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel";
  for (const wire of ["", silence]) {
    const abort = new AbortController();
    asked = "";
    answer = (socket) => {
      socket.write(wire);
      setImmediate(() => abort.abort(new Error("enough")));
    };
    await assert.rejects(async () => bytesOf(await ask({ signal: abort.signal })), /enough/);
    asked = "";
    answer = (socket) => void socket.write(wire);
    await assert.rejects(async () => bytesOf(await ask({ silenceMs: 20 })), /no answer/);
  }
  await assert.rejects(ask({ signal: AbortSignal.abort(new Error("at once")) }), /at once/);
});

test("what lands after a pause was asked for is kept, in order", async () => {
  let resumed = 0;
  const intake = new Intake(() => resumed++);
  const expected: Buffer[] = [];
  const land = (value: number) => {
    intake.landing.fill(value);
    expected.push(Buffer.from(intake.landing));
    return intake.landed(intake.landing.byteLength);
  };
  let value = 0;
  while (land(value++));
  for (let extra = 0; extra < 5; extra++) land(value++);
  const taken: Buffer[] = [];
  const take = async () => {
    const piece = await intake.take();
    if (piece) taken.push(Buffer.from(piece));
    return piece !== undefined;
  };
  await take();
  assert.equal(resumed, 1);
  land(value++);
  intake.end();
  while (await take());
  assert.ok(Buffer.concat(taken).equals(Buffer.concat(expected)));
});
