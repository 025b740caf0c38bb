import type { Container, cri, Pod } from "./imports.ts";
import { containerResources } from "./resources.ts";

export interface Resize {
  readonly resources: cri.LinuxContainerResources;
  /** Its resizePolicy wants a new container rather than new limits for the running one. */
  readonly restart: boolean;
}

/** What a running container must be given to be as its spec says; undefined when it is. */
export function neededResize(pod: Pod, container: Container, status: cri.ContainerStatus): Resize | undefined {
  if (!status.resources) return undefined;
  const { oomScoreAdj: _, ...wanted } = containerResources(pod, container, 0);
  const differs = (...keys: Array<keyof typeof wanted>) =>
    keys.some((key) => (wanted[key] ?? 0) !== (status.resources![key] ?? 0));
  const changed = [
    ...(differs("cpuShares", "cpuQuota") ? ["cpu"] : []),
    ...(differs("memoryLimitInBytes") ? ["memory"] : []),
  ];
  if (changed.length === 0) return undefined;
  const restart = changed.some((name) =>
    container.resizePolicy?.some(
      (policy) => policy.resourceName === name && policy.restartPolicy === "RestartContainer",
    ),
  );
  // Limits that were taken away are lifted, not left.
  return { resources: { cpuQuota: -1, memoryLimitInBytes: -1, memorySwapLimitInBytes: -1, ...wanted }, restart };
}
