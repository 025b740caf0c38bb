import { readFile } from "node:fs/promises";
import type { Clock } from "../../../base/index.ts";
import type { Container, cri } from "../pod/imports.ts";

/** How often a container that has started is looked at. */
const POLL_MS = 25;
/** A container that declares a port and never listens on it is ready after this, as it would be at once upstream. */
const PORT_WAIT_MS = 20_000;
/** State "LISTEN" in /proc/net/tcp. */
const LISTEN = "0A";

/** The TCP ports that a container without a readiness probe is ready on. Empty: it is ready when it runs. */
export function portsToWaitFor(container: Container): number[] {
  if (container.readinessProbe) return [];
  return (container.ports ?? [])
    .filter(({ protocol = "TCP" }) => protocol === "TCP")
    .map(({ containerPort }) => containerPort);
}

/** Ports that somebody listens on, out of the text of /proc/PID/net/tcp and tcp6. https://docs.kernel.org/networking/proc_net_tcp.html */
export function listeningPorts(table: string): Set<number> {
  const ports = new Set<number>();
  for (const line of table.split("\n").slice(1)) {
    const [, local = "", , state] = line.trim().split(/\s+/);
    if (state === LISTEN) ports.add(Number.parseInt(local.slice(local.lastIndexOf(":") + 1), 16));
  }
  return ports;
}

/**
 * Resolves when the container listens on all the ports, or patience has run out (docs/adr/0070). Looked up in the kernel's tables, so that the
 * application sees no connection of ours. A container whose process isn't one of this kernel (a microVM's, a remote runtime's) isn't waited for.
 */
export async function whenListening(
  context: { readonly runtime: Pick<cri.RuntimeService, "containerStatus">; readonly clock: Clock },
  containerId: string,
  ports: readonly number[],
  stopped: () => boolean,
  patienceMs = PORT_WAIT_MS,
): Promise<void> {
  const { runtime, clock } = context;
  const { pid } = await runtime.containerStatus(containerId);
  const deadlineMs = clock.monotonicMs() + patienceMs;
  while (pid > 0 && !stopped() && clock.monotonicMs() < deadlineMs) {
    const tables = await Promise.all(["tcp", "tcp6"].map((name) => readTable(`/proc/${pid}/net/${name}`)));
    if (tables.every((table) => table === undefined)) return;
    const open = tables.map((table) => listeningPorts(table ?? ""));
    if (ports.every((port) => open.some((set) => set.has(port)))) return;
    await clock.sleep(POLL_MS);
  }
}

function readTable(file: string): Promise<string | undefined> {
  return readFile(file, "utf8").catch(() => undefined);
}
