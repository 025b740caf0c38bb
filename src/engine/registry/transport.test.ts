import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import fs from "node:fs";
import http from "node:http";
import https from "node:https";
import net, { type AddressInfo } from "node:net";
import os from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import type { TLSSocket } from "node:tls";
import { readBody } from "./body.ts";
import { Transport } from "./transport.ts";
import type { RegistryConfig } from "./types.ts";

let directory: string;
const servers: net.Server[] = [];

before(() => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), "berth-transport-"));
  const openssl = (...args: string[]) => execFileSync("openssl", args, { cwd: directory, stdio: "ignore" });
  const key = (name: string) => [
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:P-256",
    "-nodes",
    "-keyout",
    `${name}.key`,
  ];
  openssl("req", "-x509", ...key("ca"), "-out", "ca.crt", "-subj", "/CN=own authority", "-days", "30");
  for (const name of ["server", "client"]) {
    const options = ["-subj", `/CN=${name}`, "-addext", "subjectAltName=DNS:localhost"];
    openssl(
      "req",
      "-x509",
      ...key(name),
      "-out",
      `${name}.cert`,
      ...options,
      "-CA",
      "ca.crt",
      "-CAkey",
      "ca.key",
      "-days",
      "30",
    );
  }
});
after(() => {
  for (const server of servers) server.close();
  fs.rmSync(directory, { recursive: true, force: true });
});

async function listen(server: net.Server): Promise<number> {
  servers.push(server);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

const read = (name: string) => fs.readFileSync(path.join(directory, name));

/** `receive` is the way of large bodies. */
async function get(url: string, config: RegistryConfig, way: "send" | "receive" = "send"): Promise<string> {
  const transport = new Transport(config);
  try {
    const answer = await transport[way]({ method: "GET", url: new URL(url) });
    return (await readBody(answer.body)).toString();
  } finally {
    transport.close();
  }
}

test("a registry's folder in certs.d brings its authority and the client's certificate", async () => {
  const options = { key: read("server.key"), cert: read("server.cert"), ca: read("ca.crt"), requestCert: true };
  const server = https.createServer({ ...options, rejectUnauthorized: false }, (request, response) => {
    const { authorized } = request.socket as TLSSocket;
    response.end(`client ${authorized ? "known" : "unknown"}`);
  });
  const port = await listen(server);
  const certsDir = path.join(directory, "certs.d");
  const url = `https://localhost:${port}/v2/`;
  await assert.rejects(get(url, { certsDir }), /certificate is signed by an unknown authority.*ca\.crt/);
  const folder = path.join(certsDir, `localhost:${port}`);
  fs.mkdirSync(folder, { recursive: true });
  fs.copyFileSync(path.join(directory, "ca.crt"), path.join(folder, "ca.crt"));
  assert.equal(await get(url, { certsDir }), "client unknown");
  for (const name of ["client.cert", "client.key"])
    fs.copyFileSync(path.join(directory, name), path.join(folder, name));
  assert.equal(await get(url, { certsDir }), "client known");
  assert.equal(await get(url, { certsDir }, "receive"), "client known");
});

test("a large body comes over TLS too, with the same trust, faster than it is read", async () => {
  const sent = randomBytes(4 << 20);
  const server = https.createServer({ key: read("server.key"), cert: read("server.cert") }, (_request, response) =>
    response.end(sent),
  );
  const url = new URL(`https://localhost:${await listen(server)}/v2/`);
  const fetch = async (insecure: boolean) => {
    const { body } = await new Transport({}).receive({ method: "GET", url, insecure });
    const pieces: Buffer[] = [];
    for await (const piece of body) {
      pieces.push(Buffer.from(piece));
      await new Promise((resolve) => setImmediate(resolve));
    }
    body.destroy();
    return Buffer.concat(pieces);
  };
  await assert.rejects(fetch(false), { code: "unavailable", message: /signed by an unknown authority/ });
  assert.ok((await fetch(true)).equals(sent));
});

test("proxies of the environment are used, by CONNECT for https, and not for what NO_PROXY names", async () => {
  const asked: string[] = [];
  const proxy = http.createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`);
    response.end("from the proxy");
  });
  proxy.on("connect", (request, socket: net.Socket) => {
    asked.push(`CONNECT ${request.url}`);
    socket.end("HTTP/1.1 502 Bad Gateway\r\n\r\n");
  });
  const address = `http://127.0.0.1:${await listen(proxy)}`;
  const origin = http.createServer((_request, response) => void response.end("from the registry"));
  const registry = `127.0.0.1:${await listen(origin)}`;
  const env = { HTTP_PROXY: address, HTTPS_PROXY: address };
  assert.equal(await get("http://registry.example/v2/", { env }), "from the proxy");
  await assert.rejects(get("https://registry.example/v2/", { env }), { code: "unavailable" });
  assert.deepEqual(asked, ["GET http://registry.example/v2/", "CONNECT registry.example:443"]);
  assert.equal(await get(`http://${registry}/v2/`, { env: { ...env, NO_PROXY: "127.0.0.1" } }), "from the registry");
  assert.equal(asked.length, 2);
  assert.equal(await get("http://registry.example/v2/", { env }, "receive"), "from the proxy");
});
