import type { KubeletContext } from "../context.ts";
import type { PodFacts } from "../env/fields.ts";
import type { cri, Pod } from "./imports.ts";

/** What containers may be told of their Pod and node. Without a sandbox the Pod has no address yet. */
export function podFacts(context: KubeletContext, pod: Pod, sandbox: cri.PodSandboxStatus | undefined): PodFacts {
  const { machine, nodeName } = context;
  const podIps = pod.spec?.hostNetwork
    ? machine.hostIps
    : sandbox
      ? [sandbox.network.ip, ...sandbox.network.additionalIps]
      : [];
  return {
    podIps,
    hostIps: machine.hostIps,
    nodeName,
    allocatableCpuMilli: machine.cpus * 1000,
    allocatableMemoryBytes: machine.memoryBytes,
  };
}
