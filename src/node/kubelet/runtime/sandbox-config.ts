import path from "node:path";
import type { cri, Pod } from "../pod/imports.ts";
import { podCgroup, podResources } from "../pod/resources.ts";

/** Labels by which the kubelet, after a restart, knows what it finds in the runtime. Upstream's names: tools such as crictl read them. */
export const LABELS = {
  podName: "io.kubernetes.pod.name",
  podNamespace: "io.kubernetes.pod.namespace",
  podUid: "io.kubernetes.pod.uid",
  containerName: "io.kubernetes.container.name",
} as const;

export interface SandboxInputs {
  readonly attempt: number;
  readonly logRoot: string;
  readonly dns: cri.DnsConfig | undefined;
  readonly hostname: string;
  /** Of a Pod with users of its own. */
  readonly userns?: cri.NamespaceOptions["userns"];
}

export function podLabels(pod: Pod): Record<string, string> {
  return {
    [LABELS.podName]: pod.metadata.name!,
    [LABELS.podNamespace]: pod.metadata.namespace!,
    [LABELS.podUid]: pod.metadata.uid!,
  };
}

export function podLogDirectory(logRoot: string, pod: Pod): string {
  return path.join(logRoot, `${pod.metadata.namespace}_${pod.metadata.name}_${pod.metadata.uid}`);
}

export function namespaceOptions(pod: Pod): cri.NamespaceOptions {
  const spec = pod.spec!;
  return {
    network: spec.hostNetwork ? "NODE" : "POD",
    ipc: spec.hostIPC ? "NODE" : "POD",
    pid: spec.hostPID ? "NODE" : spec.shareProcessNamespace ? "POD" : "CONTAINER",
  };
}

export function sandboxConfig(pod: Pod, inputs: SandboxInputs): cri.PodSandboxConfig {
  const spec = pod.spec!;
  const security = spec.securityContext ?? {};
  return {
    metadata: {
      name: pod.metadata.name!,
      namespace: pod.metadata.namespace!,
      uid: pod.metadata.uid!,
      attempt: inputs.attempt,
    },
    hostname: inputs.hostname,
    logDirectory: podLogDirectory(inputs.logRoot, pod),
    ...(inputs.dns ? { dnsConfig: inputs.dns } : {}),
    portMappings: spec.containers.flatMap((container) =>
      (container.ports ?? [])
        .filter((port) => (port.hostPort ?? 0) > 0)
        .map((port) => ({
          protocol: (port.protocol ?? "TCP") as cri.PortMapping["protocol"],
          containerPort: port.containerPort,
          hostPort: port.hostPort!,
          hostIp: port.hostIP ?? "",
        })),
    ),
    labels: { ...pod.metadata.labels, ...podLabels(pod) },
    annotations: { ...pod.metadata.annotations },
    linux: {
      cgroupParent: podCgroup(pod),
      securityContext: {
        namespaceOptions: { ...namespaceOptions(pod), ...(inputs.userns ? { userns: inputs.userns } : {}) },
        supplementalGroups: supplementalGroups(pod),
        ...(security.runAsUser !== undefined ? { runAsUser: security.runAsUser } : {}),
        ...(security.runAsGroup !== undefined ? { runAsGroup: security.runAsGroup } : {}),
        privileged: spec.containers.some((container) => container.securityContext?.privileged),
      },
      sysctls: Object.fromEntries((security.sysctls ?? []).map((sysctl) => [sysctl.name, sysctl.value])),
      resources: podResources(pod),
    },
  };
}

export function supplementalGroups(pod: Pod): number[] {
  const security = pod.spec?.securityContext;
  return [...(security?.supplementalGroups ?? []), ...(security?.fsGroup !== undefined ? [security.fsGroup] : [])];
}

/** hostname of the Pod: its own, or the name cut to what a hostname may be. */
export function podHostname(pod: Pod, nodeHostname: string): string {
  if (pod.spec?.hostNetwork) return nodeHostname;
  return (pod.spec?.hostname || pod.metadata.name!).slice(0, 63).replace(/[-.]+$/, "");
}
