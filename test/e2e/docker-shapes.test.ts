/** Every answer is as the published description of the Engine API says: one of each thing is made, then every endpoint is asked over the socket. */
import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import path from "node:path";
import type { Duplex } from "node:stream";
import { after, before, test } from "node:test";
import { startBerth, type TestBerth } from "../support/daemon.ts";
import { EngineApi, skipWithoutDescription as skip } from "../support/engine-api.ts";
import { openImageEngine, type ImageEngine } from "../support/image-engine.ts";
import { busyboxTar, importBusybox, tarOf } from "../support/images.ts";

let berth: TestBerth;
let api: EngineApi;
/** Somebody else's registry, to push to and ask. */
let other: ImageEngine;
const seen = new Set<string>();
const absent = new Set<string>();

before(async () => {
  if (skip) return;
  api = new EngineApi();
  berth = await startBerth();
  await importBusybox(berth);
  other = await openImageEngine(path.join(berth.directory, "other"));
});
after(async () => {
  await other?.stop();
  await berth?.stop();
});

interface Answer {
  readonly status: number;
  readonly body: Buffer;
  readonly type: string;
}

function ask(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answer> {
  const payload = body === undefined || Buffer.isBuffer(body) ? (body as Buffer | undefined) : JSON.stringify(body);
  const type = Buffer.isBuffer(body) ? "application/x-tar" : "application/json";
  return new Promise((resolve, reject) => {
    const request = http.request({
      socketPath: berth.dockerSocket,
      method,
      path: `/v1.50${path}`,
      headers: {
        ...(payload === undefined ? {} : { "content-type": type, "content-length": Buffer.byteLength(payload) }),
        ...headers,
      },
    });
    request.once("error", reject);
    request.once("response", (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.once("end", () =>
        resolve({
          status: response.statusCode!,
          body: Buffer.concat(chunks),
          type: response.headers["content-type"] ?? "",
        }),
      );
    });
    request.end(payload);
  });
}

/** Asks, and holds the answer to what the description has for `route`. `values` fill the braces. */
async function check(
  method: string,
  route: string,
  status: number,
  values: Record<string, string> = {},
  query = "",
  body?: unknown,
) {
  const path = route.replace(/\{(\w+)\}/g, (_whole, name: string) =>
    encodeURIComponent(values[name]!).replaceAll("%2F", "/"),
  );
  const answer = await ask(method, path + query, body);
  const what = `${method} ${route}${query}`;
  assert.equal(answer.status, status, `${what}: ${answer.body.toString().slice(0, 300)}`);
  const schema = api.response(method, route, status);
  seen.add(`${method} ${route}`);
  assert.notEqual(schema, undefined, `${what}: the description has no ${status}`);
  if (!schema || !answer.type.startsWith("application/json")) return undefined;
  const documents =
    route === "/events" || route === "/images/create" || route === "/build"
      ? []
      : [JSON.parse(answer.body.toString()) as object];
  for (const document of documents) {
    const wrong: string[] = api
      .mismatches(document, schema)
      .filter((mismatch) => !AS_DOCKER.includes(mismatch.replace(/\[\d+\]/g, "[]")));
    assert.deepEqual(wrong, [], what);
    for (const field of api.absent(document, schema)) absent.add(`${method} ${route} ${field}`);
  }
  return documents[0] as unknown as { Id: string };
}

/** Asks for a protocol of its own on the connection. */
async function checkUpgrade(
  method: string,
  route: string,
  id: string,
  headers: Record<string, string>,
  body?: unknown,
) {
  const payload = body === undefined ? "" : JSON.stringify(body);
  seen.add(`${method} ${route}`);
  return new Promise<Duplex>((resolve, reject) => {
    const request = http.request({
      socketPath: berth.dockerSocket,
      method,
      path: `/v1.50${route.replace("{id}", id)}?stream=1&stdout=1&stdin=1`,
      headers: {
        connection: "Upgrade",
        "content-type": "application/json",
        "content-length": payload.length,
        ...headers,
      },
    });
    request.once("error", reject);
    request.once("response", ({ statusCode }) =>
      reject(new Error(`${method} ${route}: ${statusCode} in place of 101`)),
    );
    request.once("upgrade", (_response, socket, head) => {
      socket.unshift(head);
      resolve(socket);
    });
    request.end(payload);
  });
}

/** Asks for what berth has not: the answer is an error of Docker's form, with a reason. */
async function checkRefused(method: string, route: string, status: number, query = "", body?: unknown) {
  const what = `${method} ${route}`;
  const answer = await ask(method, route.replace(/\{\w+\}/g, "nobody") + query, body);
  assert.equal(answer.status, status, `${what}: ${answer.body.toString().slice(0, 300)}`);
  const error = JSON.parse(answer.body.toString()) as { message: string };
  assert.deepEqual(api.mismatches(error, api.description.definitions["ErrorResponse"]!), [], what);
  assert.ok(error.message.length > 10, what);
  seen.add(what);
}

test("containers", { skip }, async () => {
  await check("POST", "/volumes/create", 201, {}, "", { Name: "vol", Labels: { a: "1" } });
  await check("POST", "/networks/create", 201, {}, "", { Name: "net", Labels: { a: "1" }, EnableIPv6: true });
  const made = await check("POST", "/containers/create", 201, {}, "?name=first", {
    Image: "busybox",
    Cmd: ["sh", "-c", "trap exit TERM; echo hi; while :; do sleep 0.1; done"],
    ExposedPorts: { "80/tcp": {} },
    Healthcheck: { Test: ["CMD", "true"], Interval: 200_000_000 },
    Labels: { a: "b" },
    HostConfig: {
      PortBindings: { "80/tcp": [{ HostIp: "127.0.0.1", HostPort: "" }] },
      Binds: ["vol:/v", "/tmp:/t:ro"],
      Mounts: [
        { Type: "tmpfs", Target: "/m" },
        { Type: "image", Source: "busybox", Target: "/i" },
      ],
      Memory: 64 << 20,
      RestartPolicy: { Name: "on-failure", MaximumRetryCount: 2 },
      Ulimits: [{ Name: "nofile", Soft: 100, Hard: 200 }],
    },
    NetworkingConfig: { EndpointsConfig: { net: { Aliases: ["alias"] } } },
  });
  const c = { id: made!.Id };
  await check("GET", "/containers/{id}/json", 200, c);
  await check("POST", "/containers/{id}/start", 204, c);
  await check("POST", "/containers/{id}/start", 304, c);
  await check("GET", "/containers/json", 200, {}, "?all=1&size=1");
  await check("GET", "/containers/{id}/json", 200, c, "?size=1");
  await check("GET", "/containers/{id}/top", 200, c);
  await check("GET", "/containers/{id}/changes", 200, c);
  await check("GET", "/containers/{id}/stats", 200, c, "?stream=0");
  await check("GET", "/containers/{id}/stats", 200, c, "?stream=0&one-shot=1");
  await check("GET", "/containers/{id}/logs", 200, c, "?stdout=1");
  await check("GET", "/containers/{id}/export", 200, c);
  await check("HEAD", "/containers/{id}/archive", 200, c, "?path=/bin");
  await check("GET", "/containers/{id}/archive", 200, c, "?path=/etc");
  await check("PUT", "/containers/{id}/archive", 200, c, "?path=/tmp", await tarOf({ "a/b": "text" }));
  await check("POST", "/containers/{id}/resize", 200, c, "?h=20&w=80");
  await check("POST", "/containers/{id}/attach", 200, c, "?logs=1&stdout=1");
  (await checkUpgrade("POST", "/containers/{id}/attach", c.id, { upgrade: "tcp" })).destroy();
  (await checkUpgrade("GET", "/containers/{id}/attach/ws", c.id, webSocket)).destroy();
  await check("POST", "/containers/{id}/update", 200, c, "", { Memory: 80 << 20, MemorySwap: 160 << 20 });
  await check("POST", "/containers/{id}/rename", 204, c, "?name=renamed");
  await check("POST", "/containers/{id}/pause", 204, c);
  await check("POST", "/containers/{id}/unpause", 204, c);
  const exec = await check("POST", "/containers/{id}/exec", 201, c, "", { Cmd: ["true"], AttachStdout: true });
  await check("GET", "/exec/{id}/json", 200, { id: exec!.Id });
  await check("POST", "/exec/{id}/start", 200, { id: exec!.Id }, "", { Detach: true });
  await check("GET", "/exec/{id}/json", 200, { id: exec!.Id });
  const shell = await check("POST", "/containers/{id}/exec", 201, c, "", {
    Cmd: ["sh"],
    AttachStdin: true,
    AttachStdout: true,
    Tty: true,
  });
  const terminal = await checkUpgrade("POST", "/exec/{id}/start", shell!.Id, { upgrade: "tcp" }, { Tty: true });
  await once(terminal, "data"); // its prompt: it runs
  await check("POST", "/exec/{id}/resize", 200, { id: shell!.Id }, "?h=20&w=80");
  terminal.destroy();
  await check("GET", "/networks/{id}", 200, { id: "net" }, "?verbose=1");
  await check("POST", "/commit", 201, {}, "?container=renamed&repo=committed", {});
  await check("POST", "/containers/{id}/kill", 409, { id: (await idle()).id });
  await check("POST", "/containers/{id}/restart", 204, c, "?t=1");
  await check("POST", "/containers/{id}/stop", 204, c, "?t=1");
  await check("POST", "/containers/{id}/stop", 304, c);
  await check("POST", "/containers/{id}/wait", 200, c);
  await check("GET", "/containers/{id}/json", 200, c);
  await check("GET", "/system/df", 200);
  await check("DELETE", "/containers/{id}", 204, c);
  await check("POST", "/containers/prune", 200);
  for (const route of ["json", "top", "changes", "logs", "stats", "export"])
    await check("GET", `/containers/{id}/${route}`, 404, { id: "nobody" });
});

async function idle(): Promise<{ id: string }> {
  const made = await check("POST", "/containers/create", 201, {}, "", { Image: "busybox", Cmd: ["true"] });
  return { id: made!.Id };
}

test("images", { skip }, async () => {
  const name = { name: "busybox" };
  await check("GET", "/images/json", 200, {}, "?all=1&shared-size=1&digests=1");
  await check("GET", "/images/{name}/json", 200, name);
  await check("GET", "/images/{name}/history", 200, name);
  await check("GET", "/images/{name}/json", 404, { name: "nobody" });
  await check("POST", "/images/{name}/tag", 201, name, "?repo=other&tag=1");
  await check("GET", "/images/{name}/get", 200, name);
  await check("GET", "/images/get", 200, {}, "?names=busybox");
  await check("POST", "/images/load", 200, {}, "?quiet=1", (await ask("GET", "/images/busybox/get")).body);
  await check("POST", "/images/create", 200, {}, "?fromSrc=-&repo=imported", await busyboxTar());
  await check("POST", "/build", 200, {}, "?t=built", await tarOf({ Dockerfile: "FROM busybox\nLABEL a=b\n" }));
  await check("DELETE", "/images/{name}", 200, { name: "other:1" });
  await check("DELETE", "/images/{name}", 200, { name: "committed" });
  await check("POST", "/images/prune", 200);
  await check("POST", "/build/prune", 200);
});

test("registries", { skip }, async () => {
  const repository = `${other.registry}/team/busybox`;
  await check("POST", "/images/{name}/tag", 201, { name: "busybox" }, `?repo=${repository}&tag=1`);
  await check("POST", "/images/{name}/push", 200, { name: repository }, "?tag=1");
  await check("GET", "/distribution/{name}/json", 200, { name: `${repository}:1` });
  await check("POST", "/auth", 200, {}, "", {
    username: "somebody",
    password: "secret",
    serveraddress: other.registry,
  });
  await check("POST", "/images/create", 200, {}, `?fromImage=${repository}&tag=1`);
  // Docker Hub answers, where it can be reached.
  const { status, body } = await ask("GET", "/images/search?term=busybox&limit=1");
  seen.add("GET /images/search");
  const schema = status === 200 ? api.response("GET", "/images/search", 200)! : { $ref: "/ErrorResponse" };
  assert.deepEqual(api.mismatches(JSON.parse(body.toString()), schema), [], body.toString());
});

test("networks and volumes", { skip }, async () => {
  await check("GET", "/networks", 200);
  for (const id of ["bridge", "host", "none"]) await check("GET", "/networks/{id}", 200, { id });
  const { id } = await idle();
  await check("POST", "/networks/{id}/connect", 200, { id: "net" }, "", { Container: id });
  await check("POST", "/networks/{id}/disconnect", 200, { id: "net" }, "", { Container: id });
  await check("DELETE", "/networks/{id}", 204, { id: "net" });
  await check("DELETE", "/networks/{id}", 403, { id: "bridge" });
  await check("GET", "/networks/{id}", 404, { id: "nobody" });
  await check("POST", "/networks/prune", 200);
  await check("GET", "/volumes", 200);
  await check("GET", "/volumes/{name}", 200, { name: "vol" });
  await check("GET", "/volumes/{name}", 404, { name: "nobody" });
  await check("DELETE", "/volumes/{name}", 204, { name: "vol" });
  await check("POST", "/volumes/prune", 200);
});

test("system", { skip }, async () => {
  await check("GET", "/info", 200);
  await check("GET", "/version", 200);
  await check("GET", "/_ping", 200);
  await check("HEAD", "/_ping", 200);
  const now = Date.now() / 1000;
  const { body } = await ask("GET", `/events?since=${(now - 300).toFixed(3)}&until=${now.toFixed(3)}`);
  seen.add("GET /events");
  const event = api.response("GET", "/events", 200)!;
  const events = body.toString().trim().split("\n");
  assert.ok(events.length > 10, body.toString());
  for (const line of events) {
    // Fields of before version 1.22, which the daemon still sends and the description no longer has.
    const { status: _status, id: _id, from: _from, ...current } = JSON.parse(line);
    assert.deepEqual(api.mismatches(current, event), [], line);
  }
});

test("groups that berth has not", { skip }, async () => {
  for (const [route, item] of Object.entries(api.description.paths)) {
    if (!/^\/(swarm|nodes|services|tasks|secrets|configs)\b/.test(route)) continue;
    for (const method of Object.keys(item)) {
      const status = ["/swarm/init", "/swarm/join"].includes(route) ? 501 : 503;
      await checkRefused(method.toUpperCase(), route, status, "", method === "post" ? {} : undefined);
    }
  }
  await check("GET", "/plugins", 200);
  await check("GET", "/plugins/{name}/json", 404, { name: "nobody" });
  await checkRefused("GET", "/plugins/privileges", 501, "?remote=nobody");
  await checkRefused("POST", "/plugins/pull", 501, "?remote=nobody", []);
  await checkRefused("POST", "/plugins/create", 501, "?name=nobody");
  await checkRefused("DELETE", "/plugins/{name}", 404);
  for (const verb of ["enable", "disable", "upgrade", "push", "set"])
    await checkRefused("POST", `/plugins/{name}/${verb}`, 404, "?remote=nobody", []);
  await checkRefused("PUT", "/volumes/{name}", 503, "?version=1", { Spec: {} });
  await checkRefused("POST", "/session", 501);
});

test("every endpoint was asked", { skip }, () => {
  const endpoints = Object.entries(api.description.paths).flatMap(([route, item]) =>
    Object.keys(item).map((method) => `${method.toUpperCase()} ${route}`),
  );
  assert.deepEqual(
    endpoints.filter((endpoint) => !seen.has(endpoint)),
    [],
  );
  if (process.env["BERTH_SHOW_ABSENT"]) console.log([...absent].sort().join("\n"));
});

/** Where Docker's daemon itself answers something else than its description says. */
const AS_DOCKER = ["$[].Labels: null", "$.Images[].Labels: null"];

const webSocket = {
  upgrade: "websocket",
  "sec-websocket-key": Buffer.from("sixteen bytes ok").toString("base64"),
  "sec-websocket-version": "13",
};
