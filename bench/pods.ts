/**
 * What Pods cost: `node bench/pods.ts`, as root. Created to Running, thirty at once, deletion to the last kernel object, a Deployment from 0 to 50,
 * an empty folder to the first Pod, and the idle cluster; `first` as an argument measures the first Pod alone, several times. Times are taken from a watch of the API, so no client's start-up is in them.
 */
import { existsSync, readFileSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { request, Agent } from "node:https";
import path from "node:path";
import { createInterface } from "node:readline";
import { load } from "js-yaml";
import { startBerth, type TestBerth } from "../test/support/daemon.ts";

const ROUNDS = 15;
const FIRST_ROUNDS = 7;
const SETTLE_MS = 5_000;
const IDLE_MS = 20_000;
const TICKS_PER_SECOND = 100;
const PATIENCE_MS = 60_000;

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const median = (values: number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;

interface Pod {
  metadata: { name: string; uid: string };
  status?: { phase?: string; conditions?: Array<{ type: string; status: string }> };
}

/** As much of a client as the measurements need: one kept-alive connection and a watch of all Pods. */
class Client {
  readonly #options: { host: string; port: string; ca: Buffer; cert: Buffer; key: Buffer };
  readonly #agent = new Agent({ keepAlive: true });
  readonly pods = new Map<string, Pod>();
  #wake: () => void = () => {};

  constructor(kubeconfig: string) {
    const config = load(readFileSync(kubeconfig, "utf8")) as {
      clusters: [{ cluster: { server: string; "certificate-authority-data": string } }];
      users: [{ user: { "client-certificate-data": string; "client-key-data": string } }];
    };
    const { server, "certificate-authority-data": ca } = config.clusters[0].cluster;
    const { "client-certificate-data": cert, "client-key-data": key } = config.users[0].user;
    const decode = (text: string) => Buffer.from(text, "base64");
    const url = new URL(server);
    this.#options = { host: url.hostname, port: url.port, ca: decode(ca), cert: decode(cert), key: decode(key) };
  }

  send(method: string, at: string, body?: object, type = "application/json"): Promise<string> {
    return new Promise((resolve, reject) => {
      const headers = { "content-type": type, accept: "application/json" };
      const call = request({ ...this.#options, agent: this.#agent, method, path: at, headers }, (response) => {
        let text = "";
        response.on("data", (chunk) => (text += String(chunk)));
        response.on("end", () =>
          response.statusCode! < 300
            ? resolve(text)
            : reject(new Error(`${method} ${at}: ${response.statusCode} ${text}`)),
        );
      });
      call.on("error", reject);
      call.end(body && JSON.stringify(body));
    });
  }

  watch(): void {
    const call = request({ ...this.#options, path: "/api/v1/pods?watch=1" }, (response) => {
      const lines = createInterface({ input: response });
      lines.on("error", () => {});
      lines.on("line", (line) => {
        const { type, object } = JSON.parse(line) as { type: string; object: Pod };
        if (type === "DELETED") this.pods.delete(object.metadata.name);
        else this.pods.set(object.metadata.name, object);
        this.#wake();
      });
    });
    call.on("error", () => {});
    call.end();
  }

  async until(what: string, reached: () => boolean): Promise<void> {
    const deadline = performance.now() + PATIENCE_MS;
    while (!reached()) {
      if (performance.now() > deadline) throw new Error(`not reached: ${what}`);
      await Promise.race([new Promise<void>((resolve) => (this.#wake = resolve)), pause(1_000)]);
    }
  }
}

const spec = {
  terminationGracePeriodSeconds: 0,
  containers: [{ name: "main", image: "busybox", imagePullPolicy: "IfNotPresent", command: ["sleep", "1000000"] }],
};
const podOf = (name: string) => ({ apiVersion: "v1", kind: "Pod", metadata: { name }, spec });
const PODS = "/api/v1/namespaces/default/pods";
const isRunning = (pod: Pod | undefined) => pod?.status?.phase === "Running";
const isReady = (pod: Pod) =>
  pod.status?.conditions?.some((condition) => condition.type === "Ready" && condition.status === "True") ?? false;

async function timed(run: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await run();
  return performance.now() - began;
}

/** Control groups, bundles, network namespaces and links of this instance's Pods. */
async function kernelObjects(berth: TestBerth): Promise<number> {
  const lists = await Promise.all(
    ["cri", "containers", "sandboxes", "ns", "kubelet/pods"].map((name) =>
      readdir(path.join(berth.runtimeDir, name)).catch(() => []),
    ),
  );
  return lists.flat().length;
}

/** From the call of `berth up` to the Pod Running, in milliseconds: whole, then by its parts. */
async function firstPod(berth: TestBerth): Promise<{ all: number; up: number; image: number; pod: number }> {
  const up = await timed(() => berth.berth("up", "-d"));
  const image = await timed(() => berth.berth("image", "bootstrap", "busybox"));
  const pod = await timed(async () => {
    const client = new Client(path.join(berth.runtimeDir, "kubeconfig"));
    client.watch();
    await client.send("POST", PODS, podOf("first"));
    await client.until("first", () => isRunning(client.pods.get("first")));
  });
  return { all: up + image + pod, up, image, pod };
}

/** Each time in a folder of its own. */
async function measureFirst(): Promise<void> {
  const rounds = [];
  for (let round = 0; round < FIRST_ROUNDS; round++) {
    const berth = await startBerth({ start: false, kubernetes: true });
    try {
      rounds.push(await firstPod(berth));
    } finally {
      await berth.stop();
    }
  }
  for (const part of ["all", "up", "image", "pod"] as const)
    say(`empty folder to first Pod, ${part}`, `${median(rounds.map((one) => one[part])).toFixed(0)} ms`);
}

const say = (what: string, figure: string) => console.log(`${what.padEnd(58)} ${figure}`);

async function measure(): Promise<void> {
  const berth = await startBerth({ start: false, kubernetes: true });
  try {
    const { all } = await firstPod(berth);
    say("`berth up` from an empty folder to the first Pod Running", `${all.toFixed(0)} ms`);
    const client = new Client(path.join(berth.runtimeDir, "kubeconfig"));
    client.watch();
    await pause(1_000);

    const creates: number[] = [];
    const deletes: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      const name = `one-${round}`;
      const before = await kernelObjects(berth);
      creates.push(
        await timed(async () => {
          await client.send("POST", PODS, podOf(name));
          await client.until(name, () => isRunning(client.pods.get(name)));
        }),
      );
      await pause(150);
      deletes.push(
        await timed(async () => {
          await client.send("DELETE", `${PODS}/${name}?gracePeriodSeconds=0`);
          while (client.pods.has(name) || (await kernelObjects(berth)) > before) await pause(1);
        }),
      );
      await pause(150);
    }
    say(`Pod created to Running, median of ${ROUNDS}`, `${median(creates).toFixed(0)} ms`);
    say("Pod deleted with grace 0 to the last object gone, median", `${median(deletes).toFixed(0)} ms`);

    const thirty = await timed(async () => {
      const names = Array.from({ length: 30 }, (_, index) => `many-${index}`);
      await Promise.all(names.map((name) => client.send("POST", PODS, podOf(name))));
      await client.until("30 Pods", () => names.every((name) => isRunning(client.pods.get(name))));
    });
    say("30 Pods at once, all Running", `${thirty.toFixed(0)} ms`);
    await client.send("DELETE", `${PODS}?gracePeriodSeconds=0`);
    await client.until("none left", () => client.pods.size === 0);

    const labels = { app: "web" };
    const fifty = await timed(async () => {
      await client.send("POST", "/apis/apps/v1/namespaces/default/deployments", {
        apiVersion: "apps/v1",
        kind: "Deployment",
        metadata: { name: "web" },
        spec: { replicas: 50, selector: { matchLabels: labels }, template: { metadata: { labels }, spec } },
      });
      await client.until("50 ready", () => [...client.pods.values()].filter(isReady).length === 50);
    });
    say("Deployment from 0 to 50 ready", `${fifty.toFixed(0)} ms`);
    await client.send("DELETE", "/apis/apps/v1/namespaces/default/deployments/web");
    await client.until("none left", () => client.pods.size === 0);

    await pause(SETTLE_MS);
    const { pid } = JSON.parse((await berth.berth("status", "--json")).stdout) as { pid: number };
    const before = cpuTicks(pid);
    await pause(IDLE_MS);
    const cpu = ((cpuTicks(pid) - before) / TICKS_PER_SECOND / (IDLE_MS / 1000)) * 100;
    const pss = Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"))?.[1]) / 1024;
    say("the cluster idle, after all that", `${pss.toFixed(0)} MiB PSS, ${cpu.toFixed(2)} % of a core`);
  } finally {
    await berth.stop();
  }
}

/** User and system time of a process so far, in clock ticks (proc_pid_stat(5)). */
function cpuTicks(pid: number): number {
  if (!existsSync(`/proc/${pid}/stat`)) return 0;
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]!.split(" ");
  return Number(fields[11]) + Number(fields[12]);
}

await (process.argv[2] === "first" ? measureFirst() : measure());
process.exit(0);
