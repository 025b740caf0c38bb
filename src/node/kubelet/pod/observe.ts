import { hasCode } from "../../../base/index.ts";
import { LABELS } from "../runtime/sandbox-config.ts";
import type { cri } from "./imports.ts";
import type { Observed } from "./plan.ts";

/** What the runtime has of one Pod, newest first. */
export async function observe(runtime: cri.RuntimeService, podUid: string): Promise<Observed> {
  const labelSelector = { [LABELS.podUid]: podUid };
  const [sandboxes, containers] = await Promise.all([
    runtime.listPodSandbox({ labelSelector }),
    runtime.listContainers({ labelSelector }),
  ]);
  const statuses = await Promise.all(
    containers.map((container) =>
      runtime.containerStatus(container.id).catch((error: unknown) => {
        if (hasCode(error, "notFound")) return undefined;
        throw error;
      }),
    ),
  );
  return {
    sandboxes: sandboxes.toSorted((a, b) => b.createdAt - a.createdAt),
    containers: statuses
      .filter((status) => status !== undefined)
      .toSorted((a, b) => b.metadata.attempt - a.metadata.attempt || b.createdAt - a.createdAt),
  };
}

/** Of each container's past, one ended attempt is kept for `kubectl logs --previous`. */
export async function collectDead(runtime: cri.RuntimeService, observed: Observed): Promise<void> {
  const seen = new Map<string, number>();
  for (const status of observed.containers) {
    const count = (seen.get(status.metadata.name) ?? 0) + 1;
    seen.set(status.metadata.name, count);
    if (count > 2 && status.state === "CONTAINER_EXITED") await runtime.removeContainer(status.id);
  }
}
