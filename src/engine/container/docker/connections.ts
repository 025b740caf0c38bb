import { failedPrecondition, invalidArgument, notFound } from "../../../base/index.ts";
import type { DockerEndpointSettings } from "../../../api/index.ts";
import { endpointSpec } from "./endpoints.ts";
import type { ContainerParts } from "./parts.ts";
import { isRunning, type ContainerRecord } from "./record.ts";

/** `docker network connect`: at once when it runs, else at its next start. */
export async function connectNetwork(
  parts: ContainerParts,
  record: ContainerRecord,
  network: string,
  settings: DockerEndpointSettings,
): Promise<void> {
  const { networks } = parts.deps;
  const { name } = networks.get(network);
  if (record.hostConfig.NetworkMode === "host")
    throw invalidArgument("container cannot be disconnected from host network or connected to host network");
  await parts.lock.run(record.id, async () => {
    refuseRunningMachine(parts, record);
    if (networks.sandbox(record.id)) {
      await networks.connect(record.id, network, endpointSpec(record, settings));
      await networks.settled(record.id);
    }
    record.endpoints[name] = settings;
    await parts.store.save(record);
    await refreshFiles(parts, record);
  });
}

export async function disconnectNetwork(
  parts: ContainerParts,
  record: ContainerRecord,
  network: string,
): Promise<void> {
  const { networks } = parts.deps;
  const { name, id } = networks.get(network);
  await parts.lock.run(record.id, async () => {
    const key = Object.keys(record.endpoints).find((given) => given === name || given === id || id.startsWith(given));
    if (key === undefined) throw notFound(`container ${record.id} is not connected to network ${name}`);
    refuseRunningMachine(parts, record);
    if (networks.sandbox(record.id)) await networks.disconnect(record.id, network);
    delete record.endpoints[key];
    await parts.store.save(record);
    await refreshFiles(parts, record);
  });
}

/** A microVM has handed its network over to the guest when it runs. */
function refuseRunningMachine({ live }: ContainerParts, record: ContainerRecord): void {
  if (live.find(record.id)?.sandbox.isolation !== "vm") return;
  throw failedPrecondition("the network cards of a running microVM cannot be changed", {
    hint: "stop the container, connect or disconnect it, and start it again",
  });
}

async function refreshFiles({ deps, launcher }: ContainerParts, record: ContainerRecord): Promise<void> {
  const sandbox = deps.networks.sandbox(record.id);
  if (sandbox && isRunning(record)) await launcher.writeNetworkFiles(record, sandbox);
}
