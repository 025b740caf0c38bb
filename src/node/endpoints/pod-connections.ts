import type { ApiResponse, k8s, KubeObject } from "../../api/index.ts";
import type { Call, Endpoint, EndpointTools } from "../../apiserver/index.ts";
import { failedPrecondition, hasCode, invalidArgument, notFound, unavailable, type Clock } from "../../base/index.ts";
import type { cri } from "../../api/index.ts";
import { mirrored } from "../kubelet/index.ts";
import { readContainerLog, serveLog, servePortForward, serveRemoteCommand, type Upgrade } from "../streaming/index.ts";

/** One node's runtime, for who wants to look into its Pods. Undefined: no such node here. */
export type NodeRuntimes = (nodeName: string) => { readonly runtime: cri.RuntimeService } | undefined;

const KINDS = {
  log: "Pod",
  exec: "PodExecOptions",
  attach: "PodAttachOptions",
  portforward: "PodPortForwardOptions",
} as const;

/** `pods/log`, `pods/exec`, `pods/attach` and `pods/portforward`: the API server hands these connections to the node that has the Pod. */
export function podConnections(nodes: NodeRuntimes, clock: Clock): Endpoint[] {
  const context: Context = { nodes, clock };
  const endpoint = (
    subresource: keyof typeof KINDS,
    verbs: string[],
    handle: (context: Context, call: Call, target: Target) => Promise<ApiResponse>,
  ): Endpoint => ({
    group: "",
    version: "v1",
    resource: "pods",
    subresource,
    namespaced: true,
    kind: { group: "", version: "v1", kind: KINDS[subresource] },
    verbs,
    longRunning: true,
    handle: async (call, tools) => {
      const target = await findTarget(context, call, tools);
      if (subresource !== "log") await tools.admit(call, "CONNECT", optionsObject(call, KINDS[subresource]));
      return handle(context, call, target);
    },
  });
  return [
    endpoint("log", ["get"], log),
    endpoint("exec", ["create", "get"], exec),
    endpoint("attach", ["create", "get"], attach),
    endpoint("portforward", ["create", "get"], portForward),
  ];
}

interface Context {
  readonly nodes: NodeRuntimes;
  readonly clock: Clock;
}
interface Target {
  readonly pod: k8s.Pod;
  readonly runtime: cri.RuntimeService;
}

async function findTarget({ nodes }: Context, call: Call, tools: EndpointTools): Promise<Target> {
  const { namespace, name } = call.info;
  const response = await tools.loopback({
    method: "GET",
    path: `/api/v1/namespaces/${namespace}/pods/${name}`,
    query: new URLSearchParams(),
    headers: { accept: "application/json" },
  });
  if (response.status === 404)
    throw notFound(`pods ${JSON.stringify(name)} not found`, { details: { kind: "pods", name } });
  const pod = (response.object ?? JSON.parse(Buffer.from(response.body!).toString())) as k8s.Pod;
  if (!pod.spec?.nodeName) throw invalidArgument(`pod ${name} does not have a host assigned`);
  const node = nodes(pod.spec.nodeName);
  if (!node)
    throw unavailable(`node ${pod.spec.nodeName} has no containers to connect to (it is simulated, stopped or gone)`);
  return { pod, runtime: node.runtime };
}

function optionsObject(call: Call, kind: string): KubeObject {
  const query = call.request.query;
  return {
    apiVersion: "v1",
    kind,
    metadata: {},
    container: query.get("container") ?? "",
    command: query.getAll("command"),
    stdin: flag(query, "stdin"),
    stdout: flag(query, "stdout"),
    stderr: flag(query, "stderr"),
    tty: flag(query, "tty"),
  };
}

function flag(query: URLSearchParams, name: string): boolean {
  return ["1", "true"].includes(query.get(name) ?? "");
}

/** The name of the container that was asked for: the only one, or the annotated default, as kubectl's users expect. */
function containerName(call: Call, pod: k8s.Pod): string {
  const asked = call.request.query.get("container");
  const names = [
    ...(pod.spec?.initContainers ?? []),
    ...(pod.spec?.containers ?? []),
    ...(pod.spec?.ephemeralContainers ?? []),
  ].map((container) => container.name);
  if (asked) {
    if (!names.includes(asked)) throw invalidArgument(`container ${asked} is not valid for pod ${pod.metadata.name}`);
    return asked;
  }
  const mains = pod.spec!.containers.map((container) => container.name);
  if (mains.length === 1) return mains[0]!;
  throw invalidArgument(
    `a container name must be specified for pod ${pod.metadata.name}, choose one of: [${mains.join(" ")}]`,
  );
}

async function statuses({ pod, runtime }: Target, name: string): Promise<cri.ContainerStatus[]> {
  const labelSelector = { "io.kubernetes.pod.uid": runtimeUid(pod), "io.kubernetes.container.name": name };
  const found = await runtime.listContainers({ labelSelector });
  const all = await Promise.all(found.map((container) => runtime.containerStatus(container.id)));
  return all.toSorted((a, b) => b.metadata.attempt - a.metadata.attempt);
}

/** A static Pod has another uid on its node than its mirror in the API. */
function runtimeUid(pod: k8s.Pod): string {
  return mirrored(pod) ?? pod.metadata.uid!;
}

async function runningContainer(target: Target, name: string): Promise<string> {
  const [newest] = await statuses(target, name);
  if (newest?.state !== "CONTAINER_RUNNING")
    throw invalidArgument(`container not found (${JSON.stringify(name)})`, {
      hint: "the container is not running: see kubectl describe pod",
    });
  return newest.id;
}

async function log({ clock }: Context, call: Call, target: Target): Promise<ApiResponse> {
  const query = call.request.query;
  const name = containerName(call, target.pod);
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
    ...(call.request.signal ? { signal: call.request.signal } : {}),
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
  if (call.request.headers["upgrade"])
    return upgraded(call, (upgrade) =>
      serveLog(upgrade, (signal) => readContainerLog(status.logPath, { ...options, signal }, clock)),
    );
  const chunks = readContainerLog(status.logPath, options, clock);
  return { status: 200, headers: { "content-type": "text/plain" }, chunks };
}

function defined<K extends string, V>(key: K, value: V | undefined): Partial<Record<K, V>> {
  return (value === undefined ? {} : { [key]: value }) as Partial<Record<K, V>>;
}

async function exec({ clock }: Context, call: Call, target: Target): Promise<ApiResponse> {
  const query = call.request.query;
  const command = query.getAll("command");
  if (command.length === 0) throw invalidArgument("you must specify at least 1 command for the container");
  const id = await runningContainer(target, containerName(call, target.pod));
  const wanted = channels(query);
  return upgraded(call, (upgrade) =>
    serveRemoteCommand(upgrade, { ...wanted, start: () => target.runtime.exec(id, { command, ...wanted }) }, clock),
  );
}

async function attach({ clock }: Context, call: Call, target: Target): Promise<ApiResponse> {
  const id = await runningContainer(target, containerName(call, target.pod));
  const wanted = channels(call.request.query);
  return upgraded(call, (upgrade) =>
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

async function portForward(_context: Context, call: Call, target: Target): Promise<ApiResponse> {
  const labelSelector = { "io.kubernetes.pod.uid": runtimeUid(target.pod) };
  const sandbox = (await target.runtime.listPodSandbox({ labelSelector })).find(
    (entry) => entry.state === "SANDBOX_READY",
  );
  if (!sandbox)
    throw failedPrecondition(
      `unable to forward port because pod is not running. Current status=${target.pod.status?.phase}`,
    );
  return upgraded(call, (upgrade) => servePortForward(upgrade, (port) => target.runtime.portForward(sandbox.id, port)));
}

function upgraded(call: Call, serve: (upgrade: Upgrade) => void): ApiResponse {
  const { headers, path, query } = call.request;
  if (!headers["upgrade"]) throw invalidArgument("Upgrade request required");
  return {
    status: 101,
    headers: {},
    takeover: (socket, head) => serve({ socket, head, headers, url: `${path}?${query.toString()}` }),
  };
}
