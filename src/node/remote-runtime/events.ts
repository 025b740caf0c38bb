import type { cri } from "../../api/index.ts";
import { hasCode, type Clock } from "../../base/index.ts";
import type { GrpcConnection } from "../grpc/index.ts";

/** Upstream's relisting period. */
const RELIST_MS = 1_000;

/** The runtime's events; where it has none (containerd before 1.7), what changes between two looks a second apart. */
export async function* containerEvents(
  connection: GrpcConnection,
  list: () => Promise<cri.Container[]>,
  clock: Clock,
  signal: AbortSignal,
): AsyncGenerator<cri.ContainerEvent, void, undefined> {
  try {
    for await (const event of connection.stream("getContainerEvents", {}, signal)) {
      const { containerId, containerEventType, createdAt, podSandboxStatus } = event;
      yield { containerId, type: containerEventType, createdAt, podSandboxId: podSandboxStatus?.id ?? "" };
    }
  } catch (error) {
    if (!hasCode(error, "notImplemented")) throw error;
    yield* relist(list, clock, signal);
  }
}

async function* relist(
  list: () => Promise<cri.Container[]>,
  clock: Clock,
  signal: AbortSignal,
): AsyncGenerator<cri.ContainerEvent, void, undefined> {
  let before = new Map<string, cri.Container>();
  while (!signal.aborted) {
    const now = new Map((await list()).map((container) => [container.id, container]));
    for (const event of changes(before, now, clock.nowMs() * 1e6)) yield event;
    before = now;
    await clock.sleep(RELIST_MS, signal).catch(() => {});
  }
}

/** What happened between two looks. Pure. */
export function changes(
  before: ReadonlyMap<string, cri.Container>,
  now: ReadonlyMap<string, cri.Container>,
  createdAt: number,
): cri.ContainerEvent[] {
  const events: cri.ContainerEvent[] = [];
  const tell = ({ id, podSandboxId }: cri.Container, type: cri.ContainerEvent["type"]) =>
    events.push({ containerId: id, podSandboxId, type, createdAt });
  for (const [id, container] of now) {
    const old = before.get(id);
    if (old?.state === container.state) continue;
    if (container.state === "CONTAINER_RUNNING") tell(container, "CONTAINER_STARTED_EVENT");
    else if (container.state === "CONTAINER_EXITED") tell(container, "CONTAINER_STOPPED_EVENT");
    else if (!old) tell(container, "CONTAINER_CREATED_EVENT");
  }
  for (const [id, container] of before) if (!now.has(id)) tell(container, "CONTAINER_DELETED_EVENT");
  return events;
}
