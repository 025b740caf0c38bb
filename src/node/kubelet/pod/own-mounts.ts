import { chmod, mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import type { KubeletContext } from "../context.ts";
import { hostsFile } from "../runtime/name-resolution.ts";
import { podHostname } from "../runtime/sandbox-config.ts";
import type { Container, cri, Pod } from "./imports.ts";

/** Mounts that the kubelet adds to a container's own: the hosts file and where the termination message goes. */
export async function ownMounts(
  context: KubeletContext,
  pod: Pod,
  container: Container,
  attempt: number,
  podIps: readonly string[],
): Promise<cri.Mount[]> {
  const folder = context.volumes.podFolder(pod.metadata.uid!);
  const mounts: cri.Mount[] = [];
  const has = (target: string) => container.volumeMounts?.some((mount) => mount.mountPath === target);
  await mkdir(path.join(folder, "containers", container.name), { recursive: true });
  if (!has("/etc/hosts")) {
    const file = path.join(folder, "etc-hosts");
    const hostHosts = pod.spec?.hostNetwork ? await readFile("/etc/hosts", "utf8").catch(() => "") : "";
    const hostname = podHostname(pod, context.machine.hostname);
    await writeFile(file, hostsFile(pod, podIps, hostname, context.dns.clusterDomain, hostHosts), { mode: 0o644 });
    mounts.push(bind(file, "/etc/hosts"));
  }
  const messagePath = container.terminationMessagePath || "/dev/termination-log";
  if (!has(messagePath)) {
    const file = messageFile(folder, container.name, attempt);
    await writeFile(file, "");
    // Whoever the container runs as may write its last words; the daemon's umask must not stand in the way.
    await chmod(file, 0o666);
    mounts.push(bind(file, messagePath));
  }
  return mounts;
}

/** Where a container's last words are written, on the host. */
export function messageFile(podFolder: string, container: string, attempt: number): string {
  return path.join(podFolder, "containers", container, `${attempt}.message`);
}

function bind(hostPath: string, containerPath: string): cri.Mount {
  return { hostPath, containerPath, readonly: false, propagation: "PRIVATE" };
}
