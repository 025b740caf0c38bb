import type { k8s } from "../../api/index.ts";

/** https://kubernetes.io/docs/concepts/security/pod-security-standards/, in upstream's words. */
export type Level = "privileged" | "baseline" | "restricted";

interface Pod {
  spec?: k8s.PodSpec;
}

type Check = (spec: k8s.PodSpec, containers: readonly k8s.Container[]) => string | undefined;

const quote = (values: readonly string[]): string => values.map((value) => JSON.stringify(value)).join(", ");
const plural = (count: number, one: string, many = `${one}s`): string => (count === 1 ? one : many);
const naming = (containers: readonly k8s.Container[]): string =>
  `${plural(containers.length, "container")} ${quote(containers.map(({ name }) => name))}`;

const hostNamespaces: Check = (spec) => {
  const used = (["hostNetwork", "hostPID", "hostIPC"] as const).filter((field) => spec[field] === true);
  return used.length === 0 ? undefined : `host namespaces (${used.map((field) => `${field}=true`).join(", ")})`;
};

const privileged: Check = (_spec, containers) => {
  const bad = containers.filter(({ securityContext }) => securityContext?.privileged === true);
  return bad.length === 0 ? undefined : `privileged (${naming(bad)} must not set securityContext.privileged=true)`;
};

const baselineCapabilities = new Set([
  "AUDIT_WRITE",
  "CHOWN",
  "DAC_OVERRIDE",
  "FOWNER",
  "FSETID",
  "KILL",
  "MKNOD",
  "NET_BIND_SERVICE",
  "SETFCAP",
  "SETGID",
  "SETPCAP",
  "SETUID",
  "SYS_CHROOT",
]);

const addedCapabilities: Check = (_spec, containers) => {
  const extra = (container: k8s.Container): string[] =>
    (container.securityContext?.capabilities?.add ?? []).filter((name) => !baselineCapabilities.has(name));
  const bad = containers.filter((container) => extra(container).length > 0);
  if (bad.length === 0) return undefined;
  const names = [...new Set(bad.flatMap(extra))].sort();
  return `non-default capabilities (${naming(bad)} must not include ${quote(names)} in securityContext.capabilities.add)`;
};

const hostPath: Check = ({ volumes = [] }) => {
  const bad = volumes.filter((volume) => volume.hostPath !== undefined);
  return bad.length === 0
    ? undefined
    : `hostPath volumes (${plural(bad.length, "volume")} ${quote(bad.map(({ name }) => name))})`;
};

const hostPorts: Check = (_spec, containers) => {
  const bad = containers.filter(({ ports = [] }) => ports.some(({ hostPort }) => (hostPort ?? 0) !== 0));
  if (bad.length === 0) return undefined;
  const used = bad.flatMap(({ ports = [] }) => ports.map(({ hostPort }) => hostPort ?? 0)).filter((port) => port !== 0);
  return `hostPort (${naming(bad)} ${plural(bad.length, "uses", "use")} ${plural(used.length, "hostPort")} ${used.join(", ")})`;
};

const seccompUnconfined: Check = (spec, containers) => {
  const bad = containers.filter(({ securityContext }) => securityContext?.seccompProfile?.type === "Unconfined");
  const onPod = spec.securityContext?.seccompProfile?.type === "Unconfined";
  if (!onPod && bad.length === 0) return undefined;
  const who = [...(onPod ? ["pod"] : []), ...(bad.length > 0 ? [naming(bad)] : [])].join(" and ");
  return `seccompProfile (${who} must not set securityContext.seccompProfile.type to "Unconfined")`;
};

const safeSysctls = new Set([
  "kernel.shm_rmid_forced",
  "net.ipv4.ip_local_port_range",
  "net.ipv4.ip_local_reserved_ports",
  "net.ipv4.ip_unprivileged_port_start",
  "net.ipv4.ping_group_range",
  "net.ipv4.tcp_fin_timeout",
  "net.ipv4.tcp_keepalive_intvl",
  "net.ipv4.tcp_keepalive_probes",
  "net.ipv4.tcp_keepalive_time",
  "net.ipv4.tcp_rmem",
  "net.ipv4.tcp_syncookies",
  "net.ipv4.tcp_wmem",
]);

const sysctls: Check = ({ securityContext }) => {
  const bad = (securityContext?.sysctls ?? []).map(({ name }) => name).filter((name) => !safeSysctls.has(name));
  return bad.length === 0 ? undefined : `forbidden sysctls (${bad.join(", ")})`;
};

const procMount: Check = (_spec, containers) => {
  const bad = containers.filter(({ securityContext }) => (securityContext?.procMount ?? "Default") !== "Default");
  return bad.length === 0
    ? undefined
    : `procMount (${naming(bad)} must not set securityContext.procMount to "Unmasked")`;
};

const restrictedVolumeKinds = new Set([
  "configMap",
  "csi",
  "downwardAPI",
  "emptyDir",
  "ephemeral",
  "image",
  "persistentVolumeClaim",
  "projected",
  "secret",
]);

const restrictedVolumes: Check = ({ volumes = [] }) => {
  const kindOf = (volume: k8s.Volume) => Object.keys(volume).find((key) => key !== "name") ?? "";
  const bad = volumes.filter((volume) => !restrictedVolumeKinds.has(kindOf(volume)));
  if (bad.length === 0) return undefined;
  const kinds = [...new Set(bad.map(kindOf))].sort();
  return `restricted volume types (${plural(bad.length, "volume")} ${quote(bad.map(({ name }) => name))} ${plural(bad.length, "uses", "use")} restricted volume ${plural(kinds.length, "type")} ${quote(kinds)})`;
};

const privilegeEscalation: Check = (_spec, containers) => {
  const bad = containers.filter(({ securityContext }) => securityContext?.allowPrivilegeEscalation !== false);
  return bad.length === 0
    ? undefined
    : `allowPrivilegeEscalation != false (${naming(bad)} must set securityContext.allowPrivilegeEscalation=false)`;
};

const unrestrictedCapabilities: Check = (_spec, containers) => {
  const notDropping = containers.filter(({ securityContext }) => !securityContext?.capabilities?.drop?.includes("ALL"));
  const extra = ({ securityContext }: k8s.Container) =>
    (securityContext?.capabilities?.add ?? []).filter((name) => name !== "NET_BIND_SERVICE");
  const adding = containers.filter((container) => extra(container).length > 0);
  const parts: string[] = [];
  if (notDropping.length > 0) parts.push(`${naming(notDropping)} must set securityContext.capabilities.drop=["ALL"]`);
  if (adding.length > 0) {
    const names = [...new Set(adding.flatMap(extra))].sort();
    parts.push(`${naming(adding)} must not include ${quote(names)} in securityContext.capabilities.add`);
  }
  return parts.length === 0 ? undefined : `unrestricted capabilities (${parts.join("; ")})`;
};

const runAsNonRoot: Check = (spec, containers) => {
  const onPod = spec.securityContext?.runAsNonRoot;
  const explicit = containers.filter(({ securityContext }) => securityContext?.runAsNonRoot === false);
  const implicit = containers.filter(
    ({ securityContext }) => securityContext?.runAsNonRoot === undefined && onPod !== true,
  );
  if (explicit.length > 0)
    return `runAsNonRoot != true (${naming(explicit)} must not set securityContext.runAsNonRoot=false)`;
  if (implicit.length === 0) return undefined;
  if (onPod === false) return "runAsNonRoot != true (pod must not set securityContext.runAsNonRoot=false)";
  return `runAsNonRoot != true (pod or ${naming(implicit)} must set securityContext.runAsNonRoot=true)`;
};

const runAsRoot: Check = (spec, containers) => {
  const bad = containers.filter(({ securityContext }) => securityContext?.runAsUser === 0);
  const onPod = spec.securityContext?.runAsUser === 0;
  if (!onPod && bad.length === 0) return undefined;
  const who = [...(onPod ? ["pod"] : []), ...(bad.length > 0 ? [naming(bad)] : [])].join(" and ");
  return `runAsUser=0 (${who} must not set runAsUser=0)`;
};

const seccompMissing: Check = (spec, containers) => {
  const allowed = ["RuntimeDefault", "Localhost"];
  const onPod = spec.securityContext?.seccompProfile?.type;
  const bad = containers.filter(({ securityContext }) => {
    const own = securityContext?.seccompProfile?.type ?? onPod;
    return own === undefined || !allowed.includes(own);
  });
  if (bad.length === 0) return undefined;
  return `seccompProfile (pod or ${naming(bad)} must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")`;
};

const baseline: readonly Check[] = [
  hostNamespaces,
  privileged,
  addedCapabilities,
  hostPath,
  hostPorts,
  procMount,
  seccompUnconfined,
  sysctls,
];
/** In the order in which upstream reports them. */
const restricted: readonly Check[] = [
  hostNamespaces,
  privileged,
  hostPath,
  hostPorts,
  procMount,
  sysctls,
  privilegeEscalation,
  unrestrictedCapabilities,
  restrictedVolumes,
  runAsNonRoot,
  runAsRoot,
  seccompMissing,
];

/** What of a Pod the level forbids; nothing at `privileged`. */
export function violationsOf({ spec }: Pod, level: Level): string[] {
  if (spec === undefined || level === "privileged") return [];
  const containers = [
    ...(spec.initContainers ?? []),
    ...spec.containers,
    ...((spec.ephemeralContainers ?? []) as k8s.Container[]),
  ];
  const checks = level === "baseline" ? baseline : restricted;
  return checks.map((check) => check(spec, containers)).filter((violation) => violation !== undefined);
}
