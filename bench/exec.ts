/**
 * `exec true`, berth beside dockerd, by the CLI and by the API alone (create, start, inspect): `node bench/exec.ts [rounds]` (root). Between two
 * execs both rest for longer than the kernel remembers that processes were moved, as between two that a person starts.
 */
import fs from "node:fs";
import http from "node:http";
import { startBerth } from "../test/support/daemon.ts";
import { berthContender, client, compare, report, shareBusybox, sleep, startDockerd, type Contender } from "./lib.ts";

const rounds = Number(process.argv[2] ?? 25);
const REST_MS = 100;
const agent = new http.Agent({ keepAlive: true });

function call(contender: Contender, method: string, path: string, body?: object): Promise<string> {
  const socketPath = contender.env["DOCKER_HOST"]!.replace("unix://", "");
  const headers = body ? { "content-type": "application/json" } : {};
  return new Promise((resolve, reject) => {
    const request = http.request({ socketPath, method, path, agent, headers }, (response) => {
      let text = "";
      response.on("data", (chunk: Buffer) => (text += chunk.toString()));
      response.on("end", () => resolve(text));
    });
    request.on("error", reject);
    request.end(body ? JSON.stringify(body) : undefined);
  });
}

async function byApi(contender: Contender): Promise<number> {
  await sleep(REST_MS);
  const startedMs = performance.now();
  const config = { Cmd: ["true"], AttachStdout: true, AttachStderr: true };
  const { Id } = JSON.parse(await call(contender, "POST", "/containers/target/exec", config)) as { Id: string };
  await call(contender, "POST", `/exec/${Id}/start`, { Detach: false, Tty: false });
  const { ExitCode } = JSON.parse(await call(contender, "GET", `/exec/${Id}/json`)) as { ExitCode: number };
  if (ExitCode !== 0) throw new Error(`${contender.name}: exit ${ExitCode}`);
  return performance.now() - startedMs;
}

async function byClient(contender: Contender, ...args: string[]): Promise<number> {
  await sleep(REST_MS);
  return client(contender, ...args);
}

const berth = await startBerth();
const dockerd = await startDockerd();
const contenders = [berthContender(berth), ...(dockerd ? [dockerd] : [])];
try {
  await berth.berth("image", "bootstrap", "busybox");
  shareBusybox(contenders);
  for (const contender of contenders) client(contender, "run", "-d", "--name", "target", "busybox", "sleep", "10000");
  const rows = await compare(
    [
      { name: "the client itself (ps)", run: (contender) => byClient(contender, "ps", "-q") },
      { name: "exec true", limit: 0.5, run: (contender) => byClient(contender, "exec", "target", "true") },
      { name: "exec true by the API", limit: 0.5, run: byApi },
    ],
    contenders,
    rounds,
  );
  if (!report(rows)) process.exitCode = 1;
} finally {
  agent.destroy();
  if (dockerd) {
    client(dockerd, "rm", "-f", "target");
    await dockerd.stop();
  }
  await berth.stop();
  fs.rmSync(berth.directory, { recursive: true, force: true });
}
