/** The Engine API over TCP: only TLS, and only for who shows a certificate of the configured authority. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import https from "node:https";
import net from "node:net";
import path from "node:path";
import { after, before, test } from "node:test";
import tls from "node:tls";
import { CertificateAuthority, type KeyPair } from "../../src/apiserver/certificates/authority.ts";
import { startBerth, type TestBerth } from "../support/daemon.ts";

const DAY_MS = 86_400_000;
let berth: TestBerth;
let port: number;
let folder: string;
let authority: CertificateAuthority;

function issue(ca: CertificateAuthority, name: string, usage: "server" | "client"): KeyPair {
  const nowMs = Date.now();
  return ca.issue({
    subject: { commonName: name },
    usages: [usage],
    names: ["localhost", "127.0.0.1"],
    notBeforeMs: nowMs,
    notAfterMs: nowMs + DAY_MS,
  });
}

async function freePort(): Promise<number> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address() as net.AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return address.port;
}

function ping(client?: KeyPair): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = https.get(
      {
        host: "127.0.0.1",
        port,
        path: "/_ping",
        ca: authority.pair.cert,
        agent: false,
        ...(client ? { cert: client.cert, key: client.key } : {}),
      },
      (response) => {
        let text = "";
        response
          .on("data", (chunk: Buffer) => (text += chunk.toString()))
          .on("end", () => resolve(`${response.statusCode} ${text}`));
      },
    );
    request.on("error", reject);
  });
}

before(async () => {
  berth = await startBerth({ start: false });
  folder = berth.directory;
  port = await freePort();
  authority = CertificateAuthority.create("test authority", Date.now());
  const server = issue(authority, "berth", "server");
  const files = { "ca.pem": authority.pair.cert, "server.pem": server.cert, "server-key.pem": server.key };
  for (const [name, text] of Object.entries(files)) writeFileSync(path.join(folder, name), text, { mode: 0o600 });
  const config = {
    hosts: [`tcp://127.0.0.1:${port}`],
    tlscacert: path.join(folder, "ca.pem"),
    tlscert: path.join(folder, "server.pem"),
    tlskey: path.join(folder, "server-key.pem"),
  };
  writeFileSync(path.join(folder, "daemon.json"), JSON.stringify(config));
  await berth.start();
});
after(() => berth.stop());

test("a client with a certificate of the authority is served, by the real docker CLI too", async () => {
  const client = issue(authority, "developer", "client");
  assert.equal(await ping(client), "200 OK");
  writeFileSync(path.join(folder, "cert.pem"), client.cert);
  writeFileSync(path.join(folder, "key.pem"), client.key, { mode: 0o600 });
  const env = { DOCKER_HOST: `tcp://127.0.0.1:${port}`, DOCKER_TLS_VERIFY: "1", DOCKER_CERT_PATH: folder };
  const { code, stdout, stderr } = await berth.dockerWith({ env }, "version", "--format", "{{.Server.Os}}");
  assert.equal(code, 0, stderr);
  assert.equal(stdout.trim(), "linux");
});

test("without a certificate nobody gets in", async () => {
  await assert.rejects(ping());
});

test("a certificate of somebody else's authority is worth nothing", async () => {
  const stranger = CertificateAuthority.create("stranger", Date.now());
  await assert.rejects(ping(issue(stranger, "developer", "client")));
});

test("a server's certificate is no client's", async () => {
  await assert.rejects(ping(issue(authority, "berth", "server")));
});

test("plain HTTP is not answered, and TLS before 1.2 is refused", async () => {
  const answer = await new Promise<string>((resolve) => {
    let text = "";
    const socket = net.connect(port, "127.0.0.1", () => socket.write("GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n"));
    socket.on("data", (chunk) => (text += chunk.toString("latin1")));
    socket.on("close", () => resolve(text));
    socket.on("error", () => {});
  });
  assert.ok(!answer.includes("200 OK"), answer);
  await assert.rejects(
    new Promise((resolve, reject) => {
      const socket = tls.connect(
        { port, host: "127.0.0.1", ca: authority.pair.cert, maxVersion: "TLSv1.1", minVersion: "TLSv1" },
        () => resolve(socket.end()),
      );
      socket.on("error", reject);
    }),
  );
});
