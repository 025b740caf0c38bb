import { MASKED_PATHS, READONLY_PATHS } from "../../../api/index.ts";
import { failedPrecondition, invalidArgument } from "../../../base/index.ts";
import type { DeviceEdits } from "../devices/manager.ts";
import type { EnvVars } from "../env/environment.ts";
import { expand } from "../env/expand.ts";
import { containerHash } from "../pod/containers.ts";
import type { Container, cri, Pod, SecurityContext } from "../pod/imports.ts";
import { HASH_ANNOTATION } from "../pod/plan.ts";
import { containerResources } from "../pod/resources.ts";
import { LABELS, namespaceOptions, podLabels, supplementalGroups } from "./sandbox-config.ts";

export interface ContainerInputs {
  readonly attempt: number;
  readonly image: cri.CriImage;
  readonly env: EnvVars;
  readonly mounts: readonly cri.Mount[];
  readonly devices: DeviceEdits;
  readonly memoryCapacityBytes: number;
  /** Where Localhost seccomp profiles are looked up. */
  readonly seccompRoot: string;
  /** For an ephemeral container with targetContainerName: the id of that container. */
  readonly targetId?: string;
}

export function containerConfig(pod: Pod, container: Container, inputs: ContainerInputs): cri.ContainerConfig {
  const { devices } = inputs;
  const lookup = (name: string) => inputs.env.get(name);
  return {
    metadata: { name: container.name, attempt: inputs.attempt },
    image: { image: inputs.image.id, userSpecifiedImage: container.image ?? "" },
    command: (container.command ?? []).map((word) => expand(word, lookup)),
    args: (container.args ?? []).map((word) => expand(word, lookup)),
    workingDir: container.workingDir ?? "",
    envs: [...inputs.env].map(([key, value]) => ({ key, value })),
    mounts: [
      ...inputs.mounts,
      ...devices.mounts.map(({ containerPath, hostPath, readOnly }) => ({
        containerPath,
        hostPath,
        readonly: readOnly,
        propagation: "PRIVATE" as const,
      })),
    ],
    devices: [...devices.devices],
    ...(devices.cdiDevices.length > 0 ? { cdiDevices: devices.cdiDevices.map((name) => ({ name })) } : {}),
    labels: { ...podLabels(pod), [LABELS.containerName]: container.name },
    annotations: {
      ...devices.annotations,
      [HASH_ANNOTATION]: containerHash(container),
      "io.kubernetes.container.restartCount": String(inputs.attempt),
      "io.kubernetes.container.terminationMessagePath": container.terminationMessagePath ?? "/dev/termination-log",
      "io.kubernetes.container.terminationMessagePolicy": container.terminationMessagePolicy ?? "File",
      "io.kubernetes.pod.terminationGracePeriod": String(pod.spec?.terminationGracePeriodSeconds ?? 30),
    },
    logPath: `${container.name}/${inputs.attempt}.log`,
    stdin: container.stdin ?? false,
    stdinOnce: container.stdinOnce ?? false,
    tty: container.tty ?? false,
    ...(container.lifecycle?.stopSignal ? { stopSignal: container.lifecycle.stopSignal } : {}),
    linux: {
      resources: containerResources(pod, container, inputs.memoryCapacityBytes),
      securityContext: securityContext(pod, container, inputs),
    },
  };
}

function securityContext(pod: Pod, container: Container, inputs: ContainerInputs): cri.LinuxContainerSecurityContext {
  const podSecurity = pod.spec?.securityContext ?? {};
  const own: SecurityContext = container.securityContext ?? {};
  const user = own.runAsUser ?? podSecurity.runAsUser;
  const group = own.runAsGroup ?? podSecurity.runAsGroup;
  verifyNonRoot(container, own.runAsNonRoot ?? podSecurity.runAsNonRoot, user, inputs.image);
  const privileged = own.privileged ?? false;
  const unmasked = privileged || own.procMount === "Unmasked";
  const seccomp = own.seccompProfile ?? podSecurity.seccompProfile;
  return {
    privileged,
    capabilities: {
      addCapabilities: [...(own.capabilities?.add ?? [])],
      dropCapabilities: [...(own.capabilities?.drop ?? [])],
    },
    namespaceOptions: {
      ...namespaceOptions(pod),
      ...(inputs.targetId ? { pid: "TARGET" as const, targetId: inputs.targetId } : {}),
    },
    ...runAs(user, inputs.image),
    ...(group !== undefined ? { runAsGroup: group } : {}),
    readonlyRootfs: own.readOnlyRootFilesystem ?? false,
    supplementalGroups: supplementalGroups(pod),
    supplementalGroupsPolicy: (podSecurity.supplementalGroupsPolicy ?? "Merge") as "Merge" | "Strict",
    noNewPrivs: own.allowPrivilegeEscalation === false,
    // Masked and read-only unless procMount is Unmasked.
    maskedPaths: unmasked ? [] : [...MASKED_PATHS],
    readonlyPaths: unmasked ? [] : [...READONLY_PATHS],
    seccomp: seccompProfile(seccomp, inputs.seccompRoot),
  };
}

function runAs(
  user: number | undefined,
  image: cri.CriImage,
): Pick<cri.LinuxContainerSecurityContext, "runAsUser" | "runAsUsername"> {
  if (user !== undefined) return { runAsUser: user };
  if (image.uid !== undefined) return { runAsUser: image.uid };
  return image.username ? { runAsUsername: image.username } : {};
}

/** runAsNonRoot is checked here, in upstream's words, since only the node knows the image's user. */
function verifyNonRoot(
  container: Container,
  nonRoot: boolean | undefined,
  user: number | undefined,
  image: cri.CriImage,
): void {
  if (!nonRoot) return;
  const where = `(container: ${container.name})`;
  if (user !== undefined) {
    if (user === 0) throw failedPrecondition(`container's runAsUser breaks non-root policy ${where}`);
    return;
  }
  if (image.uid !== undefined && image.uid !== 0) return;
  if (image.username)
    throw failedPrecondition(
      `container has runAsNonRoot and image has non-numeric user (${image.username}), cannot verify user is non-root ${where}`,
    );
  throw failedPrecondition(`container has runAsNonRoot and image will run as root ${where}`, {
    hint: "set securityContext.runAsUser to a number above 0, or give the image a USER",
  });
}

function seccompProfile(
  profile: { type: string; localhostProfile?: string } | undefined,
  root: string,
): cri.SecurityProfile {
  if (!profile || profile.type === "Unconfined") return { type: "Unconfined" };
  if (profile.type === "RuntimeDefault") return { type: "RuntimeDefault" };
  if (!profile.localhostProfile || profile.localhostProfile.includes(".."))
    throw invalidArgument(
      `seccomp profile "${profile.localhostProfile}" must be a path below the node's seccomp folder`,
    );
  return { type: "Localhost", localhostRef: `${root}/${profile.localhostProfile}` };
}
