import { mkdir } from "node:fs/promises";
import path from "node:path";
import { BerthError, codeOf, hasCode, messageOf } from "../../../base/index.ts";
import type { KubeletContext } from "../context.ts";
import { makeEnvironment } from "../env/environment.ts";
import type { PodFacts } from "../env/fields.ts";
import { NotStarted } from "../images/puller.ts";
import { containerConfig } from "../runtime/container-config.ts";
import { runHook } from "../probe/actions.ts";
import type { MountedVolumes } from "../volumes/volumes.ts";
import type { Container, cri, Pod } from "./imports.ts";
import { ownMounts } from "./own-mounts.ts";
import { latest, type Observed } from "./plan.ts";

/** As after a configuration that is incomplete. */
const CREATE_RETRY_MS = 10_000;

export interface StartRequest {
  readonly pod: Pod;
  readonly container: Container;
  readonly attempt: number;
  readonly facts: PodFacts;
  readonly sandbox: cri.PodSandboxStatus;
  readonly sandboxConfig: cri.PodSandboxConfig;
  readonly volumes: MountedVolumes;
  /** For an ephemeral container: whose processes it sees. */
  readonly target: string | undefined;
  readonly signal: AbortSignal;
}

/** Image, configuration, create, start, each with its events. Returns the container's id; throws NotStarted or why it could not be made. */
export async function startContainer(context: KubeletContext, request: StartRequest): Promise<string> {
  const { pod, container, signal } = request;
  const image = await context.puller.ensure(pod, container, signal);
  let id: string;
  try {
    id = await createContainer(context, request, image);
  } catch (error) {
    if (!signal.aborted) context.event(pod, container, "Warning", "Failed", `Error: ${messageOf(error)}`);
    throw error;
  }
  context.event(pod, container, "Normal", "Created", `Created container: ${container.name}`);
  try {
    await context.runtime.startContainer(id);
  } catch (error) {
    context.event(pod, container, "Warning", "Failed", `Error: ${messageOf(error)}`);
    throw codeOf(error) === "internal" ? error : new NotStarted("RunContainerError", messageOf(error));
  }
  context.event(pod, container, "Normal", "Started", `Started container ${container.name}`);
  return id;
}

async function createContainer(context: KubeletContext, request: StartRequest, image: cri.CriImage): Promise<string> {
  const { pod, container, attempt, facts, sandbox, sandboxConfig, volumes, target, signal } = request;
  const devices = await context.devices.edits(pod, container);
  // The container's own word counts more than the plugin's.
  const env = new Map([...devices.envs, ...(await makeEnvironment(pod, container, facts, context.api))]);
  const mounts = await context.volumes.containerMounts(pod, container, volumes, env);
  mounts.push(...(await ownMounts(context, pod, container, attempt, facts.podIps)));
  const config = containerConfig(pod, container, {
    attempt,
    image,
    env,
    mounts: withOwners(mounts, sandboxConfig),
    devices: {
      ...devices,
      devices: [...devices.devices, ...context.volumes.containerDevices(container, volumes)],
      cdiDevices: [...devices.cdiDevices, ...context.claims.cdiDevices(pod, container)],
    },
    memoryCapacityBytes: context.machine.memoryBytes,
    seccompRoot: context.seccompRoot,
    ...(target !== undefined ? { targetId: target } : {}),
  });
  await mkdir(path.join(sandboxConfig.logDirectory, container.name), { recursive: true, mode: 0o755 });
  try {
    return await context.runtime.createContainer(sandbox.id, config, sandboxConfig, signal);
  } catch (error) {
    // What the runtime refuses is another reason than what the configuration lacks.
    if (hasCode(error, "failedPrecondition", "invalidArgument") && exitCodeOf(error) === undefined)
      throw new NotStarted("CreateContainerError", messageOf(error), CREATE_RETRY_MS);
    throw error;
  }
}

function exitCodeOf(error: unknown): unknown {
  return error instanceof BerthError ? error.details["exitCode"] : undefined;
}

/** In a Pod with users of its own, what belongs to root on the node belongs to the Pod's root in its mounts. */
function withOwners(mounts: readonly cri.Mount[], sandbox: cri.PodSandboxConfig): cri.Mount[] {
  const { userns } = sandbox.linux.securityContext.namespaceOptions;
  return mounts.map((mount) => (userns ? { ...mount, uidMappings: userns.uids, gidMappings: userns.gids } : mount));
}

/** The container whose processes an ephemeral one sees, where it names one that runs. */
export function targetOf(container: Container, observed: Observed): string | undefined {
  const name = (container as { targetContainerName?: string }).targetContainerName;
  return name ? latest(observed, name)?.id : undefined;
}

export async function runPostStart(
  context: KubeletContext,
  pod: Pod,
  container: Container,
  id: string,
  podIp: string,
): Promise<void> {
  const hook = container.lifecycle?.postStart;
  if (!hook) return;
  try {
    await runHook(context, hook, { containerId: id, container, podIp }, 0);
  } catch (error) {
    context.event(pod, container, "Warning", "FailedPostStartHook", "PostStartHook failed");
    await context.runtime.stopContainer(id, pod.spec?.terminationGracePeriodSeconds ?? 30);
    throw new NotStarted("PostStartHookError", messageOf(error));
  }
}
