import type { ApiRequest, ApiResponse, cri, k8s } from "../../api/index.ts";
import { failedPrecondition, hasCode, invalidArgument, type Clock } from "../../base/index.ts";
import { mirrored } from "../kubelet/index.ts";
import { readContainerLog, serveLog, servePortForward, serveRemoteCommand, type Upgrade } from "../streaming/index.ts";

/** What of a Pod a connection is for, on the node that has it. */
export interface PodTarget {
  readonly pod: k8s.Pod;
  readonly runtime: cri.RuntimeService;
  /** Empty for port-forward, which is the Pod's. */
  readonly container: string;
}

/** Connections into Pods by their subresource, served on the node from its runtime. */
export const podStreams = { log, exec, attach, portforward: portForward } as const;

export type PodStream = keyof typeof podStreams;

export function flag(query: URLSearchParams, name: string): boolean {
  return ["1", "true"].includes(query.get(name) ?? "");
}

async function statuses({ pod, runtime }: PodTarget, name: string): Promise<cri.ContainerStatus[]> {
  const labelSelector = { "io.kubernetes.pod.uid": runtimeUid(pod), "io.kubernetes.container.name": name };
  const found = await runtime.listContainers({ labelSelector });
  const all = await Promise.all(found.map((container) => runtime.containerStatus(container.id)));
  return all.toSorted((a, b) => b.metadata.attempt - a.metadata.attempt);
}

/** A static Pod has another uid on its node than its mirror in the API. */
function runtimeUid(pod: k8s.Pod): string {
  return mirrored(pod) ?? pod.metadata.uid!;
}

async function runningContainer(target: PodTarget, name: string): Promise<string> {
  const [newest] = await statuses(target, name);
  if (newest?.state !== "CONTAINER_RUNNING")
    throw invalidArgument(`container not found (${JSON.stringify(name)})`, {
      hint: "the container is not running: see kubectl describe pod",
    });
  return newest.id;
}

async function log(clock: Clock, request: ApiRequest, target: PodTarget): Promise<ApiResponse> {
  const { query } = request;
  const name = target.container;
  const previous = flag(query, "previous");
  const history = await statuses(target, name);
  const status = previous
    ? history.find((entry, index) => index > 0 || entry.state === "CONTAINER_EXITED")
    : history[0];
  if (!status || status.state === "CONTAINER_CREATED") {
    if (previous)
      throw invalidArgument(
        `previous terminated container ${JSON.stringify(name)} in pod ${JSON.stringify(target.pod.metadata.name)} not found`,
      );
    const waiting = [
      ...(target.pod.status?.containerStatuses ?? []),
      ...(target.pod.status?.initContainerStatuses ?? []),
    ].find((entry) => entry.name === name)?.state?.waiting;
    throw invalidArgument(
      `container ${JSON.stringify(name)} in pod ${JSON.stringify(target.pod.metadata.name)} is waiting to start: ${waiting?.message && waiting.reason !== "ContainerCreating" ? waiting.message : (waiting?.reason ?? "ContainerCreating")}`,
    );
  }
  const number = (key: string): number | undefined => {
    const text = query.get(key);
    if (text === null) return undefined;
    const value = Number(text);
    if (!Number.isInteger(value) || value < 0)
      throw invalidArgument(`invalid value ${JSON.stringify(text)} for ${key}: must be a whole number, 0 or more`);
    return value;
  };
  const sinceSeconds = number("sinceSeconds");
  const sinceTime = query.get("sinceTime");
  const stream = query.get("stream");
  const options = {
    follow: flag(query, "follow") && !previous,
    timestamps: flag(query, "timestamps"),
    ...(request.signal ? { signal: request.signal } : {}),
    ...defined("tailLines", number("tailLines")),
    ...defined("limitBytes", number("limitBytes")),
    ...defined(
      "sinceMs",
      sinceSeconds !== undefined ? clock.nowMs() - sinceSeconds * 1000 : sinceTime ? Date.parse(sinceTime) : undefined,
    ),
    ...(stream === "Stdout" ? { stream: "stdout" as const } : stream === "Stderr" ? { stream: "stderr" as const } : {}),
    running: async () => {
      try {
        return (await target.runtime.containerStatus(status.id)).state === "CONTAINER_RUNNING";
      } catch (error) {
        if (hasCode(error, "notFound")) return false;
        throw error;
      }
    },
  };
  if (request.headers["upgrade"])
    return upgraded(request, (upgrade) =>
      serveLog(upgrade, (signal) => readContainerLog(status.logPath, { ...options, signal }, clock)),
    );
  const chunks = readContainerLog(status.logPath, options, clock);
  return { status: 200, headers: { "content-type": "text/plain" }, chunks };
}

function defined<K extends string, V>(key: K, value: V | undefined): Partial<Record<K, V>> {
  return (value === undefined ? {} : { [key]: value }) as Partial<Record<K, V>>;
}

async function exec(clock: Clock, request: ApiRequest, target: PodTarget): Promise<ApiResponse> {
  const { query } = request;
  const command = query.getAll("command");
  if (command.length === 0) throw invalidArgument("you must specify at least 1 command for the container");
  const id = await runningContainer(target, target.container);
  const wanted = channels(query);
  return upgraded(request, (upgrade) =>
    serveRemoteCommand(upgrade, { ...wanted, start: () => target.runtime.exec(id, { command, ...wanted }) }, clock),
  );
}

async function attach(clock: Clock, request: ApiRequest, target: PodTarget): Promise<ApiResponse> {
  const id = await runningContainer(target, target.container);
  const wanted = channels(request.query);
  return upgraded(request, (upgrade) =>
    serveRemoteCommand(upgrade, { ...wanted, start: () => target.runtime.attach(id, wanted) }, clock),
  );
}

function channels(query: URLSearchParams): { tty: boolean; stdin: boolean; stdout: boolean; stderr: boolean } {
  const tty = flag(query, "tty");
  const wanted = {
    tty,
    stdin: flag(query, "stdin"),
    stdout: flag(query, "stdout"),
    stderr: flag(query, "stderr") && !tty,
  };
  if (!wanted.stdin && !wanted.stdout && !wanted.stderr)
    throw invalidArgument("you must specify at least 1 of stdin, stdout, stderr");
  return wanted;
}

async function portForward(_clock: Clock, request: ApiRequest, target: PodTarget): Promise<ApiResponse> {
  const labelSelector = { "io.kubernetes.pod.uid": runtimeUid(target.pod) };
  const sandbox = (await target.runtime.listPodSandbox({ labelSelector })).find(
    (entry) => entry.state === "SANDBOX_READY",
  );
  if (!sandbox)
    throw failedPrecondition(
      `unable to forward port because pod is not running. Current status=${target.pod.status?.phase}`,
    );
  return upgraded(request, (upgrade) =>
    servePortForward(upgrade, (port) => target.runtime.portForward(sandbox.id, port)),
  );
}

function upgraded(request: ApiRequest, serve: (upgrade: Upgrade) => void): ApiResponse {
  const { headers, path, query } = request;
  if (!headers["upgrade"]) throw invalidArgument("Upgrade request required");
  return {
    status: 101,
    headers: {},
    takeover: (socket, head) => serve({ socket, head, headers, url: `${path}?${query.toString()}` }),
  };
}
