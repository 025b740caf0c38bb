import { rm } from "node:fs/promises";
import path from "node:path";
import type { cri } from "../../api/index.ts";
import { failedPrecondition, type InstanceContext, notFound, PushQueue, randomHex } from "../../base/index.ts";
import { mountsBelow, unmount } from "../../host/index.ts";
import { type Core, type Isolation, type RuntimeContainer, type Sandbox, type IdMappings } from "../container/index.ts";
import type { ImageService } from "../image/index.ts";
import type { SnapshotStore } from "../snapshot/index.ts";
import { Records, type ContainerRecord, type SandboxRecord } from "./records.ts";
import { StatsSampler } from "./stats.ts";
import type { PodNetwork } from "./types.ts";

export interface CriDeps {
  readonly context: InstanceContext;
  readonly core: Core;
  readonly images: Pick<ImageService, "resolve">;
  readonly snapshots: Pick<SnapshotStore, "prepare" | "mount" | "mountLayer" | "unmount" | "remove" | "usage" | "list">;
  readonly network: PodNetwork;
  /** By runtime handler; "" is the default. A handler that is none of these is the name of an OCI runtime for the default one. */
  readonly isolations: ReadonlyMap<string, Isolation>;
  /** Tells several nodes over one engine apart: each sees, recovers and reclaims its own only. Left out: the machine itself. */
  readonly node?: LocalNodeRuntime;
}

/** A further node on this machine. */
export interface LocalNodeRuntime {
  /** Of `a-z 0-9`; part of names on disk and of cgroups. */
  readonly tag: string;
  /** The network namespace that is the node's host network. */
  readonly netnsPath: string;
}

/** The label by which sandboxes of Pods are told from Docker's containers; those of a further node have its tag behind a colon. */
export const CRI_OWNER = { key: "berth.owner", value: "cri" } as const;
/** A user namespace and its mappings. */
export interface PodUsers extends IdMappings {
  readonly pin: string;
}

const ID_BYTES = 32;

/** What the parts of the runtime share: records on disk, what runs, and who is told of changes. */
export class CriState {
  readonly deps: CriDeps;
  readonly sandboxRecords: Records<SandboxRecord>;
  readonly containerRecords: Records<ContainerRecord>;
  readonly sandboxes = new Map<string, Sandbox>();
  readonly listeners = new Set<PushQueue<cri.ContainerEvent>>();
  readonly stats: StatsSampler;
  /** Snapshots of Pods' containers have keys with this in front. */
  readonly snapshotPrefix: string;
  readonly ownerLabel: string;
  readonly runFolder: string;

  constructor(deps: CriDeps) {
    this.deps = deps;
    const { node, context } = deps;
    const folder = path.join(context.dataDir, node ? `cri-${node.tag}` : "cri");
    this.runFolder = path.join(context.runtimeDir, node ? `cri-${node.tag}` : "cri");
    this.snapshotPrefix = node ? `cri.${node.tag}-` : "cri-";
    this.ownerLabel = node ? `${CRI_OWNER.value}:${node.tag}` : CRI_OWNER.value;
    this.sandboxRecords = new Records(path.join(folder, "sandboxes"));
    this.containerRecords = new Records(path.join(folder, "containers"));
    this.stats = new StatsSampler(deps.context.clock);
  }

  newId(): string {
    return randomHex(this.deps.context.random, ID_BYTES);
  }

  now(): number {
    return this.deps.context.clock.nowMs() * 1e6;
  }

  tell(record: ContainerRecord, type: cri.ContainerEvent["type"]): void {
    for (const queue of this.listeners)
      queue.push({ containerId: record.id, podSandboxId: record.podSandboxId, type, createdAt: this.now() });
  }

  sandboxRecord(id: string): SandboxRecord {
    const record = this.sandboxRecords.get(id);
    if (!record) throw notFound(`could not find sandbox ${JSON.stringify(id)}`);
    return record;
  }

  containerRecord(id: string): ContainerRecord {
    const record = this.containerRecords.get(id);
    if (!record) throw notFound(`could not find container ${JSON.stringify(id)}`);
    return record;
  }

  containersOf(sandboxId: string): ContainerRecord[] {
    return this.containerRecords.all().filter((record) => record.podSandboxId === sandboxId);
  }

  runtimeContainer(id: string): RuntimeContainer | undefined {
    const record = this.containerRecords.get(id);
    return record && this.sandboxes.get(record.podSandboxId)?.container(id);
  }

  running(id: string): RuntimeContainer {
    const container = this.runtimeContainer(id);
    if (!container || this.containerRecord(id).state !== "CONTAINER_RUNNING")
      throw failedPrecondition(`container ${id} is not running`);
    return container;
  }

  cgroupOf(config: cri.PodSandboxConfig): string {
    const { core, node } = this.deps;
    return path.join(core.cgroupParent, node ? `node-${node.tag}` : "", path.resolve("/", config.linux.cgroupParent));
  }

  /** The Pod's own users, where it has any, and where their namespace is pinned. */
  users({ id, config }: Pick<SandboxRecord, "id" | "config">): PodUsers | undefined {
    const { userns } = config.linux.securityContext.namespaceOptions;
    if (userns?.mode !== "POD") return undefined;
    const mappings = (list: readonly cri.IdMapping[]) =>
      list.map(({ hostId, containerId, length }) => ({ hostId, containerId, size: length }));
    return { pin: path.join(this.folder(id), "userns"), uids: mappings(userns.uids), gids: mappings(userns.gids) };
  }

  folder(sandboxId: string): string {
    return path.join(this.runFolder, sandboxId);
  }

  async removeFolder(sandboxId: string): Promise<void> {
    for (const mount of mountsBelow(this.folder(sandboxId))) unmount(mount, { lazy: true });
    await rm(this.folder(sandboxId), { recursive: true, force: true });
  }

  async removeBundle(containerId: string): Promise<void> {
    const bundle = this.deps.core.layout.bundle(containerId);
    for (const mount of mountsBelow(bundle)) await this.deps.snapshots.unmount(mount);
    await rm(bundle, { recursive: true, force: true });
  }
}

export function hasLabels(
  labels: Readonly<Record<string, string>>,
  selector: Readonly<Record<string, string>> | undefined,
): boolean {
  return Object.entries(selector ?? {}).every(([key, value]) => labels[key] === value);
}
