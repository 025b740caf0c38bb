/**
 * Measures the API server over HTTP with a durable store: `node bench/apiserver.ts [memory|sqlite]`.
 * The server runs in a process of its own; this process is all the clients. Prints one JSON line per measure.
 * With BENCH_NO_METRICS=1 nothing is counted for /metrics.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { Metrics, silentLogger, systemClock, systemRandom } from "../src/base/index.ts";

const CLIENTS = 32;
const OBJECTS = 20_000;
const GETS = 40_000;
const LISTED = 5_000;
const WATCHERS = 100;
const WATCHED_EVENTS = 5_000;
const WATCH_WRITERS = 32;
const PAYLOAD = "x".repeat(1000);

async function serve(): Promise<void> {
  const { createApiServer } = await import("../src/apiserver/index.ts");
  const { builtinKinds } = await import("../src/apiserver/resources/kinds.ts");
  const storage = await import("../src/storage/index.ts");
  const folder = process.argv[4]!;
  const store =
    process.argv[3] === "memory"
      ? await storage.openMemoryStore()
      : await storage.openSqliteStore({ file: path.join(folder, "store.db") });
  const server = await createApiServer({
    store,
    kinds: builtinKinds(),
    clock: systemClock,
    random: systemRandom,
    log: silentLogger,
    metrics: process.env["BENCH_NO_METRICS"] ? undefined : new Metrics(),
  });
  const { port } = await server.listen();
  console.log(port);
  process.on("message", () => process.send!({ ...process.memoryUsage(), cpu: process.cpuUsage() }));
}

async function measure(store: string): Promise<void> {
  const folder = mkdtempSync(path.join(tmpdir(), "berth-bench-"));
  const startedMs = performance.now();
  const child = spawn(
    process.execPath,
    ["--disable-warning=ExperimentalWarning", import.meta.filename, "--serve", store, folder],
    {
      stdio: ["ignore", "pipe", "inherit", "ipc"],
    },
  );
  try {
    const port = Number(await new Promise((resolve) => child.stdout!.once("data", resolve)));
    const probe = await Connection.open(port);
    await probe.request("GET", "/readyz");
    report("start to ready", { ms: performance.now() - startedMs });
    await sleep(500);
    const memory = await new Promise<NodeJS.MemoryUsage>((resolve) => {
      child.once("message", resolve as (message: unknown) => void);
      child.send("usage");
    });
    report("memory idle", { rssMiB: memory.rss / 2 ** 20, heapMiB: memory.heapUsed / 2 ** 20 });
    const clients = await Promise.all(Array.from({ length: CLIENTS }, () => Connection.open(port)));
    await creates(clients, "warm", 3000);
    await creates(clients, "bench", OBJECTS);
    await gets(clients);
    await lists(probe, clients);
    await watches(port, clients);
  } finally {
    child.kill();
    rmSync(folder, { recursive: true, force: true });
  }
  process.exit(0);
}

const root = (namespace: string) => `/api/v1/namespaces/${namespace}/configmaps`;

function configMap(name: string): string {
  return JSON.stringify({
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name, labels: { app: "bench" } },
    data: { payload: PAYLOAD },
  });
}

async function each(
  clients: readonly Connection[],
  count: number,
  task: (client: Connection, index: number) => Promise<void>,
) {
  const startedMs = performance.now();
  const latencies: number[] = [];
  let next = 0;
  await Promise.all(
    clients.map(async (client) => {
      while (next < count) {
        const index = next++;
        const sentMs = performance.now();
        await task(client, index);
        latencies.push(performance.now() - sentMs);
      }
    }),
  );
  latencies.sort((a, b) => a - b);
  const quantile = (share: number) => latencies[Math.floor(latencies.length * share)]!;
  return { perSecond: (count / (performance.now() - startedMs)) * 1000, p50Ms: quantile(0.5), p99Ms: quantile(0.99) };
}

async function creates(clients: readonly Connection[], namespace: string, count: number): Promise<void> {
  const result = await each(clients, count, async (client, index) => {
    const { status } = await client.request("POST", root(namespace), configMap(`c-${index}`));
    if (status !== 201) throw new Error(`create answered ${status}`);
  });
  if (namespace === "bench") report(`create, ${CLIENTS} clients, 1 KB`, result);
}

async function gets(clients: readonly Connection[]): Promise<void> {
  const result = await each(clients, GETS, async (client, index) => {
    const { status } = await client.request("GET", `${root("bench")}/c-${index % OBJECTS}`);
    if (status !== 200) throw new Error(`get answered ${status}`);
  });
  report(`get, ${CLIENTS} clients`, result);
}

async function lists(client: Connection, clients: readonly Connection[]): Promise<void> {
  await each(clients, LISTED, async (one, index) => {
    await one.request("POST", root("listed"), configMap(`l-${index}`));
  });
  const times: number[] = [];
  let sizeBytes = 0;
  for (let round = 0; round < 15; round++) {
    const startedMs = performance.now();
    sizeBytes = (await client.request("GET", root("listed"))).sizeBytes;
    times.push(performance.now() - startedMs);
  }
  times.sort((a, b) => a - b);
  report(`list of ${LISTED}`, { medianMs: times[7], bestMs: times[0], sizeMB: sizeBytes / 1e6 });
}

async function watches(port: number, clients: readonly Connection[]): Promise<void> {
  let seen = 0;
  const mark = Buffer.from('{"type":"');
  for (let watcher = 0; watcher < WATCHERS; watcher++) {
    const socket = connect(port, "127.0.0.1");
    socket.write(`GET ${root("watched")}?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n`);
    socket.on("data", (chunk: Buffer) => {
      for (let at = chunk.indexOf(mark); at >= 0; at = chunk.indexOf(mark, at + mark.length)) seen++;
    });
  }
  await sleep(500);
  const startedMs = performance.now();
  const wanted = WATCHED_EVENTS * WATCHERS;
  await each(clients.slice(0, WATCH_WRITERS), WATCHED_EVENTS, async (client, index) => {
    await client.request("POST", root("watched"), configMap(`w-${index}`));
  });
  while (seen < wanted * 0.999 && performance.now() - startedMs < 60_000) await sleep(5);
  report(`watch fan-out, ${WATCHERS} watchers`, {
    eventsPerSecond: (seen / (performance.now() - startedMs)) * 1000,
    seen,
    wanted,
  });
}

interface Answer {
  readonly status: number;
  readonly sizeBytes: number;
}

/** One keep-alive connection, one request at a time; reads only what it must, so that the client costs little. */
class Connection {
  readonly #socket: Socket;
  #chunks: Buffer[] = [];
  #size = 0;
  #wanted = -1;
  #status = 0;
  #resolve: ((answer: Answer) => void) | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on("data", (chunk: Buffer) => this.#read(chunk));
    socket.on("error", (error) => {
      throw error;
    });
  }
  static open(port: number): Promise<Connection> {
    return new Promise((resolve) => {
      const socket = connect(port, "127.0.0.1", () => resolve(new Connection(socket)));
    });
  }
  request(method: string, target: string, body = ""): Promise<Answer> {
    const head = `${method} ${target} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n`;
    return new Promise((resolve) => {
      this.#resolve = resolve;
      this.#socket.write(head + body);
    });
  }
  #read(chunk: Buffer): void {
    this.#size += chunk.length;
    if (this.#wanted < 0) {
      this.#chunks.push(chunk);
      const text = Buffer.concat(this.#chunks).toString("latin1");
      const end = text.indexOf("\r\n\r\n");
      if (end < 0) return;
      this.#status = Number(text.slice(9, 12));
      this.#wanted = end + 4 + Number(/content-length: (\d+)/i.exec(text)?.[1] ?? 0);
    }
    if (this.#size < this.#wanted) return;
    const answer = { status: this.#status, sizeBytes: this.#wanted };
    this.#chunks = [];
    this.#size = 0;
    this.#wanted = -1;
    this.#resolve!(answer);
  }
}

function report(measure: string, figures: Record<string, number | undefined>): void {
  const rounded = Object.entries(figures).map(([name, value]) => [name, Math.round((value ?? 0) * 100) / 100]);
  console.log(JSON.stringify({ measure, ...Object.fromEntries(rounded) }));
}

const sleep = (delayMs: number) => new Promise((resolve) => setTimeout(resolve, delayMs));

if (process.argv[2] === "--serve") await serve();
else await measure(process.argv[2] ?? "sqlite");
