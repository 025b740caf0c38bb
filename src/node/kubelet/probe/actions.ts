import type { ClientRequest } from "node:http";
import https from "node:https";
import net from "node:net";
import { deadlineExceeded, hasCode, messageOf, type Clock } from "../../../base/index.ts";
import type { ActionResult } from "./result.ts";
import type { Container, cri, LifecycleHandler, Probe } from "../pod/imports.ts";

const http = process.getBuiltinModule("node:http");

export interface ActionTarget {
  readonly containerId: string;
  readonly container: Container;
  readonly podIp: string;
}

export interface ActionContext {
  readonly runtime: cri.RuntimeService;
  readonly clock: Clock;
}

/** Upstream cuts what a probe says at 10 KiB. */
const MAX_OUTPUT_BYTES = 10 * 1024;

/** Runs one probe once. Never throws: an error is a failed probe. */
export async function runProbe(context: ActionContext, probe: Probe, target: ActionTarget): Promise<ActionResult> {
  const timeoutMs = (probe.timeoutSeconds ?? 1) * 1000;
  try {
    if (probe.exec) return await execAction(context, target, probe.exec.command ?? [], probe.timeoutSeconds ?? 1);
    if (probe.httpGet) return await httpAction(target, probe.httpGet, timeoutMs, "kube-probe/1.34");
    if (probe.tcpSocket)
      return await tcpAction(
        probe.tcpSocket.host || target.podIp,
        portOf(probe.tcpSocket.port, target.container),
        timeoutMs,
      );
    if (probe.grpc)
      return await (
        await import("./grpc.ts")
      ).grpcAction(target.podIp, probe.grpc.port, probe.grpc.service ?? "", context.clock.nowMs() + timeoutMs);
    return { ok: true, output: "" };
  } catch (error) {
    return { ok: false, output: messageOf(error) };
  }
}

/** Runs a postStart or preStop hook. Throws with what went wrong. No time at all (0) is no limit. */
export async function runHook(
  context: ActionContext,
  hook: LifecycleHandler,
  target: ActionTarget,
  timeoutSeconds: number,
): Promise<void> {
  if (hook.sleep) return context.clock.sleep(hook.sleep.seconds * 1000);
  const fail = (result: ActionResult) => {
    if (!result.ok) throw deadlineExceeded(result.output);
  };
  if (hook.exec) fail(await execAction(context, target, hook.exec.command ?? [], timeoutSeconds));
  else if (hook.httpGet) fail(await httpAction(target, hook.httpGet, timeoutSeconds * 1000, "kube-lifecycle/1.34"));
}

async function execAction(
  { runtime }: ActionContext,
  target: ActionTarget,
  command: string[],
  timeoutSeconds: number,
): Promise<ActionResult> {
  try {
    const result = await runtime.execSync(target.containerId, command, timeoutSeconds);
    const output = Buffer.concat([result.stdout, result.stderr]).subarray(0, MAX_OUTPUT_BYTES).toString();
    return {
      ok: result.exitCode === 0,
      output:
        result.exitCode === 0
          ? output
          : output || `command ${JSON.stringify(command.join(" "))} exited with ${result.exitCode}`,
    };
  } catch (error) {
    if (hasCode(error, "deadlineExceeded"))
      return {
        ok: false,
        output: `command timed out: ${JSON.stringify(command.join(" "))} timed out after ${timeoutSeconds}s`,
      };
    throw error;
  }
}

type HttpGet = NonNullable<Probe["httpGet"]>;

function httpAction(target: ActionTarget, get: HttpGet, timeoutMs: number, userAgent: string): Promise<ActionResult> {
  const secure = (get.scheme ?? "HTTP").toUpperCase() === "HTTPS";
  const port = portOf(get.port, target.container);
  const host = get.host || target.podIp;
  const url = `${secure ? "https" : "http"}://${net.isIPv6(host) ? `[${host}]` : host}:${port}${get.path || "/"}`;
  const headers: Record<string, string> = { "user-agent": userAgent, accept: "*/*", connection: "close" };
  for (const header of get.httpHeaders ?? []) headers[header.name.toLowerCase()] = header.value;
  return new Promise((resolve) => {
    const done = (ok: boolean, output: string) => resolve({ ok, output });
    const signal = timeoutMs > 0 ? AbortSignal.timeout(Math.ceil(timeoutMs)) : undefined;
    const onError = (error: Error) =>
      done(
        false,
        signal?.aborted
          ? `Get ${JSON.stringify(url)}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)`
          : `Get ${JSON.stringify(url)}: ${dialError(error, host, port)}`,
      );
    let request: ClientRequest;
    try {
      request = (secure ? https : http).request(url, {
        headers,
        ...(signal && { signal }),
        agent: false,
        ...(secure ? { rejectUnauthorized: false } : {}),
      });
    } catch (error) {
      return onError(error as Error);
    }
    request.on("error", onError);
    request.on("response", (response) => {
      response.on("error", onError);
      response.resume();
      const code = response.statusCode ?? 0;
      // A redirect counts as success, as upstream's do when they lead to another host.
      done(code >= 200 && code < 400, code >= 200 && code < 400 ? "" : `HTTP probe failed with statuscode: ${code}`);
    });
    request.end();
  });
}

function tcpAction(host: string, port: number, timeoutMs: number): Promise<ActionResult> {
  return new Promise((resolve) => {
    const socket = net.connect({ host, port, timeout: timeoutMs });
    const done = (ok: boolean, output: string) => {
      socket.destroy();
      resolve({ ok, output });
    };
    socket.on("connect", () => done(true, ""));
    socket.on("timeout", () => done(false, `dial tcp ${host}:${port}: i/o timeout`));
    socket.on("error", (error) => done(false, dialError(error, host, port)));
  });
}

function dialError(error: Error, host: string, port: number): string {
  const code = (error as { code?: string }).code;
  if (code === "ECONNREFUSED") return `dial tcp ${host}:${port}: connect: connection refused`;
  if (code === "EHOSTUNREACH") return `dial tcp ${host}:${port}: connect: no route to host`;
  return error.message;
}

/** A port's number, or its name among the container's ports. */
function portOf(port: number | string, container: Container): number {
  if (typeof port === "number") return port;
  const named = container.ports?.find((candidate) => candidate.name === port)?.containerPort;
  const number = named ?? Number(port);
  if (!Number.isInteger(number)) throw deadlineExceeded(`couldn't find port: ${port}`);
  return number;
}
