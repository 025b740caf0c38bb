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
