/** A whole berth with a cluster and the busybox image, and the few verbs with which tests make Pods by the real kubectl. */
import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { run, startBerth, type Output, type StartOptions, type TestBerth } from "./daemon.ts";
import { patience } from "./patience.ts";

export interface PodTests {
  readonly berth: TestBerth;
  readonly env: NodeJS.ProcessEnv;
  /** Throws for another exit code than 0. */
  kubectl(...args: string[]): Promise<string>;
  /** Any exit code. */
  try(...args: string[]): Promise<Output>;
  apply(...objects: object[]): Promise<void>;
  get<T = PodObject>(kind: string, name: string): Promise<T>;
  /** Waits until the object is as wanted; throws with its last state. */
  until<T = PodObject>(kind: string, name: string, wanted: (object: T) => unknown, timeoutMs?: number): Promise<T>;
  /** Waits for Succeeded or Failed and returns the log. */
  finished(name: string, container?: string): Promise<string>;
  running(name: string): Promise<PodObject>;
  exec(pod: string, ...command: string[]): Promise<string>;
  /** kubectl left running; the test ends it. */
  spawn(...args: string[]): ChildProcess;
  events(name: string): Promise<Array<{ type: string; reason: string; message: string }>>;
}

/** As much of a Pod as tests look at. */
export interface PodObject {
  metadata: { name: string; uid: string; annotations?: Record<string, string> };
  spec: { nodeName: string };
  status: {
    phase: string;
    reason?: string;
    message?: string;
    podIP: string;
    hostIP: string;
    qosClass: string;
    conditions: Array<{ type: string; status: string; reason?: string; message?: string }>;
    containerStatuses?: ContainerStatus[];
    initContainerStatuses?: ContainerStatus[];
    ephemeralContainerStatuses?: ContainerStatus[];
  };
}
export interface ContainerStatus {
  name: string;
  ready: boolean;
  restartCount: number;
  containerID?: string;
  resources?: { limits?: Record<string, string> };
  state: State;
  lastState?: State;
}
interface State {
  waiting?: { reason: string; message?: string };
  running?: { startedAt: string };
  terminated?: { exitCode: number; reason: string; message?: string; signal?: number };
}

const PAUSE_MS = patience(100);
const PATIENCE_MS = patience(30_000);

export async function startPods(options: StartOptions = {}): Promise<PodTests> {
  const berth = await startBerth({ kubernetes: true, ...options });
  try {
    const made = await berth.berth("image", "bootstrap", "busybox");
    assert.equal(made.code, 0, made.stderr);
  } catch (error) {
    await berth.stop();
    throw error;
  }
  return podTests(berth);
}

export function podTests(berth: TestBerth): PodTests {
  const env = { ...berth.env, KUBECONFIG: `${berth.runtimeDir}/kubeconfig` };
  const attempt = (args: readonly string[], input?: string) =>
    run("kubectl", args, { env, timeoutMs: patience(60_000), ...(input === undefined ? {} : { input }) });
  const kubectl = async (...args: string[]) => {
    const output = await attempt(args);
    assert.equal(output.code, 0, `kubectl ${args.join(" ")}: ${output.stdout}${output.stderr}`);
    return output.stdout;
  };
  const tests: PodTests = {
    berth,
    env,
    kubectl,
    try: (...args) => attempt(args),
    async apply(...objects) {
      const output = await attempt(
        ["apply", "-f", "-"],
        JSON.stringify({ apiVersion: "v1", kind: "List", items: objects }),
      );
      assert.equal(output.code, 0, output.stderr);
    },
    get: async (kind, name) => JSON.parse(await kubectl("get", kind, name, "-o", "json")),
    async until(kind, name, wanted, timeoutMs = PATIENCE_MS) {
      const deadline = Date.now() + timeoutMs;
      for (;;) {
        const output = await attempt(["get", kind, name, "-o", "json"]);
        const object = output.code === 0 ? JSON.parse(output.stdout) : undefined;
        if (object && wanted(object)) return object;
        if (Date.now() > deadline) {
          const events = (await tests.events(name)).map((event) => `${event.reason}: ${event.message}`).join("\n");
          assert.fail(
            `${kind} ${name} did not become as wanted: ${JSON.stringify(object?.status, null, 1) ?? output.stderr}\n${events}`,
          );
        }
        await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      }
    },
    async finished(name, container) {
      await tests.until("pod", name, (pod) => ["Succeeded", "Failed"].includes(pod.status?.phase));
      return kubectl("logs", name, ...(container ? ["-c", container] : []));
    },
    running: (name) =>
      tests.until("pod", name, (pod) =>
        pod.status?.conditions?.some((condition) => condition.type === "Ready" && condition.status === "True"),
      ),
    exec: (name, ...command) => kubectl("exec", name, "--", ...command),
    spawn: (...args) => spawn("kubectl", args, { env, stdio: ["pipe", "pipe", "pipe"] }),
    events: async (name) =>
      (
        JSON.parse(await kubectl("get", "events", "--field-selector", `involvedObject.name=${name}`, "-o", "json")) as {
          items: Array<{ type: string; reason: string; message: string }>;
        }
      ).items,
  };
  return tests;
}

/** A Pod of one busybox container that runs a shell script, unless told otherwise. Grace is short: a shell as PID 1 ignores SIGTERM. */
export function podOf(
  name: string,
  script: string,
  spec: Record<string, unknown> = {},
  container: Record<string, unknown> = {},
): object {
  const main = { ...shell("main", script), ...container };
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, labels: { test: name } },
    spec: { restartPolicy: "Never", terminationGracePeriodSeconds: 1, containers: [main], ...spec },
  };
}

export function shell(name: string, script: string): { name: string; image: string; command: string[] } {
  return { name, image: "busybox", command: ["sh", "-c", script] };
}
