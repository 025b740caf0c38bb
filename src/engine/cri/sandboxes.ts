import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import type { cri } from "../../api/index.ts";
import { failedPrecondition, notFound, unavailable, Undo } from "../../base/index.ts";
import { createUserNamespace, mountTmpfs } from "../../host/index.ts";
import { type Isolation } from "../container/index.ts";
import type { SandboxRecord } from "./records.ts";
import { ociResources } from "./spec.ts";
import type { Containers } from "./containers.ts";
import { CRI_OWNER, hasLabels, type CriState, type PodUsers } from "./state.ts";

/** Pods' sandboxes: namespaces, network, control group, and the folder with what their containers share. */
export class Sandboxes {
  readonly #state: CriState;
  readonly #containers: Pick<Containers, "stop" | "remove">;

  constructor(state: CriState, containers: Pick<Containers, "stop" | "remove">) {
    this.#state = state;
    this.#containers = containers;
  }

  async run(config: cri.PodSandboxConfig, runtimeHandler: string, signal?: AbortSignal): Promise<string> {
    const id = this.#state.newId();
    const isolation = this.#isolation(runtimeHandler);
    const options = config.linux.securityContext.namespaceOptions;
    const users = this.#state.users({ id, config });
    if (users && (options.network === "NODE" || options.pid === "POD"))
      throw failedPrecondition("a Pod with users of its own can't share the host's network or one process namespace", {
        hint: "leave hostUsers, or hostNetwork and shareProcessNamespace, out",
      });
    await using undo = new Undo();
    const folder = this.#state.folder(id);
    await mkdir(folder, { recursive: true, mode: 0o711 });
    undo.defer(() => this.#state.removeFolder(id));

    const host = options.network === "NODE";
    const addresses = host
      ? { netnsPath: this.#state.deps.node?.netnsPath ?? "", ips: [] }
      : await this.#state.deps.network.add({ id, config, ...(users && { makeNamespace: this.#userNamespace(users) }) });
    if (!host) undo.defer(() => this.#state.deps.network.remove(id));
    if (config.dnsConfig)
      await writeFile(path.join(folder, "resolv.conf"), resolvConf(config.dnsConfig), { mode: 0o644 });
    await this.#makeShm(folder, options.ipc);
    await this.#state.deps.core.cgroup(this.#state.cgroupOf(config)).limit(config.linux.resources ?? {});
    undo.defer(() => this.#state.deps.core.cgroup(this.#state.cgroupOf(config)).remove());
    const sandbox = await isolation.createSandbox(
      {
        id,
        ...(addresses.netnsPath === "" ? {} : { netnsPath: addresses.netnsPath }),
        // What belongs to the host's users can't be entered with rights by the Pod's: its containers make their own.
        shared: { ipc: options.ipc === "POD" && !users, uts: !host && !users, pid: options.pid === "POD" },
        hostname: config.hostname,
        sysctls: config.linux.sysctls,
        cgroupParent: this.#state.cgroupOf(config),
        resources: ociResources(config.linux.resources ?? {}),
        labels: { [CRI_OWNER.key]: this.#state.ownerLabel },
      },
      signal,
    );
    undo.defer(() => sandbox.destroy());
    if (signal?.aborted) throw unavailable("the sandbox is not wanted any more");
    const record: SandboxRecord = {
      id,
      config,
      runtimeHandler,
      createdAt: this.#state.now(),
      state: "SANDBOX_READY",
      ips: addresses.ips,
      netnsPath: addresses.netnsPath,
    };
    await this.#state.sandboxRecords.put(record);
    this.#state.sandboxes.set(id, sandbox);
    undo.commit();
    return id;
  }

  async #makeShm(folder: string, ipc: cri.NamespaceMode): Promise<void> {
    if (ipc !== "POD") return;
    const shm = path.join(folder, "shm");
    await mkdir(shm, { recursive: true });
    mountTmpfs(shm, { sizeBytes: 64 * 1024 * 1024, mode: 0o1777 });
  }

  #userNamespace(users: PodUsers): (netnsPin: string) => Promise<void> {
    const { pin, uids, gids } = users;
    return (netnsPin) => createUserNamespace({ uids, gids, pin, netnsPin }, this.#state.deps.context.clock);
  }

  async stop(podSandboxId: string): Promise<void> {
    const record = this.#state.sandboxRecords.get(podSandboxId);
    if (!record) return;
    await Promise.all(
      this.#state
        .containersOf(podSandboxId)
        .filter((container) => container.state !== "CONTAINER_EXITED")
        .map((container) => this.#containers.stop(container.id, 0)),
    );
    await this.#state.sandboxes.get(podSandboxId)?.destroy();
    this.#state.sandboxes.delete(podSandboxId);
    if (!usesHostNetwork(record)) await this.#state.deps.network.remove(podSandboxId);
    if (record.state === "SANDBOX_READY")
      await this.#state.sandboxRecords.put({ ...record, state: "SANDBOX_NOTREADY" });
  }

  async remove(podSandboxId: string): Promise<void> {
    const record = this.#state.sandboxRecords.get(podSandboxId);
    if (!record) return;
    await this.stop(podSandboxId);
    await Promise.all(this.#state.containersOf(podSandboxId).map((container) => this.#containers.remove(container.id)));
    await this.#state.removeFolder(podSandboxId);
    await this.#state.deps.core.cgroup(this.#state.cgroupOf(record.config)).remove();
    await this.#state.sandboxRecords.delete(podSandboxId);
  }

  async status(podSandboxId: string): Promise<cri.PodSandboxStatus> {
    const record = this.#state.sandboxRecord(podSandboxId);
    const [ip = "", ...additionalIps] = record.ips;
    return {
      ...toSandbox(record),
      network: { ip, additionalIps },
      linux: { namespaces: record.config.linux.securityContext.namespaceOptions },
    };
  }

  async list(filter: cri.PodSandboxFilter = {}): Promise<cri.PodSandbox[]> {
    return this.#state.sandboxRecords
      .all()
      .map(toSandbox)
      .filter(
        (sandbox) =>
          (!filter.id || sandbox.id.startsWith(filter.id)) &&
          (!filter.state || sandbox.state === filter.state) &&
          hasLabels(sandbox.labels, filter.labelSelector),
      );
  }

  async updateResources(podSandboxId: string, resources: cri.LinuxContainerResources): Promise<void> {
    await this.#state.deps.core
      .cgroup(this.#state.cgroupOf(this.#state.sandboxRecord(podSandboxId).config))
      .limit(resources);
  }

  #isolation(handler: string): Isolation {
    const isolation =
      this.#state.deps.isolations.get(handler) ??
      (this.#state.deps.core.runtimeNames().includes(handler) ? this.#state.deps.isolations.get("") : undefined);
    if (!isolation)
      throw notFound(`no runtime for ${JSON.stringify(handler)} is configured`, {
        hint: `known handlers: ${[...this.#state.deps.isolations.keys()].filter(Boolean).join(", ") || "none"}`,
      });
    return isolation;
  }
}

function usesHostNetwork({ config }: SandboxRecord): boolean {
  return config.linux.securityContext.namespaceOptions.network === "NODE";
}

function resolvConf(dns: cri.DnsConfig): string {
  const lines = [
    ...(dns.searches.length > 0 ? [`search ${dns.searches.join(" ")}`] : []),
    ...dns.servers.map((server) => `nameserver ${server}`),
    ...(dns.options.length > 0 ? [`options ${dns.options.join(" ")}`] : []),
  ];
  return lines.join("\n") + "\n";
}

function toSandbox({ id, config, state, createdAt, runtimeHandler }: SandboxRecord): cri.PodSandbox {
  return {
    id,
    metadata: config.metadata,
    state,
    createdAt,
    labels: config.labels,
    annotations: config.annotations,
    runtimeHandler,
  };
}
