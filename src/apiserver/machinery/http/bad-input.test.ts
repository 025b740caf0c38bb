/** What bad input gets over a real connection, and that somebody else is served at the same time. */
import assert from "node:assert/strict";
import { request as httpRequest } from "node:http";
import { connect, type Socket } from "node:net";
import { test } from "node:test";
import type { KubeObject } from "../../../api/index.ts";
import { startFixture } from "../testing/fixture.ts";

const MAPS = "/api/v1/namespaces/default/configmaps";

interface Answer {
  readonly status: number;
  readonly object: KubeObject & { reason?: string; items?: KubeObject[] };
}

function ask(port: number, method: string, path: string, body?: string | readonly string[]): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({ port, host: "127.0.0.1", method, path, agent: false }, (response) => {
      let text = "";
      response.on("data", (chunk: Buffer) => (text += chunk.toString()));
      response.on("end", () => resolve({ status: response.statusCode!, object: JSON.parse(text) as Answer["object"] }));
      response.on("error", reject);
    });
    request.on("error", reject);
    // Pieces go without a length.
    if (Array.isArray(body)) for (const piece of body) request.write(piece);
    request.end(typeof body === "string" ? body : undefined);
  });
}

const map = (name: string, data: object = {}) => JSON.stringify({ metadata: { name }, data });

async function opened() {
  const api = await startFixture();
  const { port } = await api.server.listen();
  let count = 0;
  /** Somebody else's write and read. */
  const assertServed = async () => {
    const name = `other-${count++}`;
    assert.equal((await ask(port, "POST", MAPS, map(name))).status, 201);
    assert.equal((await ask(port, "GET", `${MAPS}/${name}`)).object.metadata.name, name);
  };
  return { api, port, assertServed };
}

test("bodies that are too large, too deep or damaged are refused, each by its own answer", async () => {
  const { api, port, assertServed } = await opened();
  const piece = "x".repeat(256 * 1024);
  const rows: [string | readonly string[], number][] = [
    ["[".repeat(200_000), 400],
    [`{"metadata":{"name":"deep"},"data":${'{"a":'.repeat(50_000)}1${"}".repeat(50_000)}}`, 400],
    ['{"metadata":', 400],
    [`\u0000${piece}`, 400],
  ];
  for (const [body, status] of rows) {
    const [answer] = await Promise.all([ask(port, "POST", MAPS, body), assertServed()]);
    assert.equal(answer.status, status);
  }
  // Without a length it is noticed on the way; a client that goes on sending may see the connection close.
  const endless = Array.from({ length: 16 }, () => piece);
  const [large] = await Promise.all([ask(port, "POST", MAPS, endless).catch(() => undefined), assertServed()]);
  if (large) assert.equal(large.status, 413);
  await assertServed();
  await api[Symbol.asyncDispose]();
});

test("of writes that conflict one wins, and who lost is told so", async () => {
  const { api, port, assertServed } = await opened();
  const { object } = await ask(port, "POST", MAPS, map("a"));
  const put = (at: number) => ask(port, "PUT", `${MAPS}/a`, JSON.stringify({ ...object, data: { at: String(at) } }));
  const [answers] = await Promise.all([Promise.all(Array.from({ length: 40 }, (_, at) => put(at))), assertServed()]);
  const won = answers.filter(({ status }) => status === 200);
  assert.equal(won.length, 1);
  for (const { status, object: refusal } of answers)
    if (status !== 200) assert.deepEqual([status, refusal.reason], [409, "Conflict"]);
  assert.deepEqual((await ask(port, "GET", `${MAPS}/a`)).object["data"], won[0]!.object["data"]);
  await api[Symbol.asyncDispose]();
});

test("an expired page is gone, a damaged one is a bad request", async () => {
  const { api, port, assertServed } = await opened();
  for (const name of ["a", "b", "c"]) await ask(port, "POST", MAPS, map(name));
  const { metadata } = (await ask(port, "GET", `${MAPS}?limit=1`)).object as KubeObject & {
    metadata: { continue: string };
  };
  await assertServed();
  await api.store.compact(await api.store.revision());
  const expired = await ask(port, "GET", `${MAPS}?limit=1&continue=${metadata.continue}`);
  assert.deepEqual([expired.status, expired.object.reason], [410, "Expired"]);
  assert.equal((await ask(port, "GET", `${MAPS}?limit=1&continue=nonsense`)).status, 400);
  await assertServed();
  await api[Symbol.asyncDispose]();
});

test("requests that never end and watchers that never read hold nobody else up", async () => {
  const { api, port, assertServed } = await opened();
  const sockets: Socket[] = [];
  const send = async (text: string) => {
    const socket = connect(port, "127.0.0.1").pause();
    socket.on("error", () => undefined);
    sockets.push(socket);
    await new Promise((resolve) => socket.once("connect", resolve));
    socket.write(text);
  };
  for (let at = 0; at < 50; at++) await send(`POST ${MAPS} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{"meta`);
  for (let at = 0; at < 20; at++) await send(`GET ${MAPS}?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n`);
  for (let at = 0; at < 20; at++) {
    const name = `large-${at}`;
    assert.equal((await ask(port, "POST", MAPS, map(name, { k: "x".repeat(500_000) }))).status, 201);
    await assertServed();
  }
  assert.equal((await ask(port, "GET", MAPS)).object.items!.length, 40);
  for (const socket of sockets) socket.destroy();
  await api[Symbol.asyncDispose]();
});
