import { conflict, invalidArgument } from "../../../base/index.ts";
import type { DockerHostConfig } from "../../../api/index.ts";
import { publish, type ContainerParts } from "./parts.ts";
import type { ContainerRecord } from "./record.ts";
import { checkRestart } from "./checks.ts";
import { checkResources, discardUnsupported, ociResources } from "./resources.ts";

/** `docker rename`. */
export async function renameContainer(parts: ContainerParts, record: ContainerRecord, name: string): Promise<void> {
  const { deps, store } = parts;
  const fresh = name.replace(/^\//, "");
  if (fresh === "") throw invalidArgument("Neither old nor new names may be empty");
  if (fresh === record.name) throw invalidArgument("Renaming a container with the same name as its current name");
  const old = record.name;
  store.reserveName(fresh, record.id);
  store.releaseName(old);
  record.name = fresh;
  await store.save(record);
  if (deps.networks.sandbox(record.id)) deps.networks.rename(record.id, fresh);
  publish(deps, record, "rename", { oldName: `/${old}` });
}

/** `docker update`: limits and the restart policy, of a running container at once. Answers warnings. */
export async function updateContainer(
  parts: ContainerParts,
  record: ContainerRecord,
  limits: DockerHostConfig,
): Promise<string[]> {
  const { deps, live, store } = parts;
  const given = Object.fromEntries(
    Object.entries(limits).filter(([, value]) => value !== undefined && value !== null && value !== 0 && value !== ""),
  );
  const { RestartPolicy, ...resources } = given as DockerHostConfig;
  const merged: DockerHostConfig = { ...record.hostConfig, ...resources };
  if (resources.NanoCpus) Object.assign(merged, { CpuPeriod: 0, CpuQuota: 0 });
  checkResources(merged);
  const warnings = discardUnsupported(merged);
  if (RestartPolicy?.Name) {
    if (record.hostConfig.AutoRemove && RestartPolicy.Name !== "no") {
      throw conflict("Restart policy cannot be updated because AutoRemove is enabled for the container");
    }
    merged.RestartPolicy = RestartPolicy;
    checkRestart(merged);
  }
  const running = live.find(record.id);
  if (running && Object.keys(resources).length > 0) await running.container.update(ociResources(merged));
  record.hostConfig = merged;
  await store.save(record);
  publish(deps, record, "update");
  return warnings;
}
