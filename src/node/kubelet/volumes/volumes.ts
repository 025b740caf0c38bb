import { chmod, chown, lstat, mkdir, open, readdir, rm, stat } from "node:fs/promises";
import path from "node:path";
import {
  failedPrecondition,
  hasCode,
  KeyedMutex,
  messageOf,
  notFound,
  parseQuantity,
  type Clock,
} from "../../../base/index.ts";
import type { PodFacts } from "../env/fields.ts";
import { expand } from "../env/expand.ts";
import type { EnvVars } from "../env/environment.ts";
import type { KubeletApi, KubeletHost } from "../kubelet-api.ts";
import type { CsiVolumes } from "../csi/volumes.ts";
import type { Container, cri, Pod, Volume } from "../pod/imports.ts";
import type { UsualFolder } from "../usual-folder.ts";
import { writeAtomically, type Payload } from "./atomic-writer.ts";
import { BlockDevices } from "./block-devices.ts";
import { configMapFiles, downwardFiles, projectedFiles, secretFiles } from "./payloads.ts";
import type { TokenCache } from "./tokens.ts";

/** Where a volume's content is on this node, or which image it is. */
export interface MountedVolume {
  readonly hostPath: string;
  readonly readOnly: boolean;
  /** `hostPath` is a device: for `volumeDevices`, not for `volumeMounts`. */
  readonly block?: true;
  readonly image?: cri.ImageSpec;
}
export type MountedVolumes = ReadonlyMap<string, MountedVolume>;

export interface VolumesOptions {
  readonly api: KubeletApi;
  readonly host: KubeletHost;
  readonly clock: Clock;
  readonly csi: CsiVolumes;
  readonly tokens: TokenCache;
  readonly usualFolder: UsualFolder;
  /** `podsRoot/UID` holds what a Pod has on disk. */
  readonly podsRoot: string;
  /** `mountsRoot/UID` holds what is mounted for it: volumes in memory, pinned subpaths. Below the runtime directory, which the OCI runtime shares. */
  readonly mountsRoot: string;
}

/**
 * The volumes of this node's Pods. `prepare` is idempotent: it makes what is missing, refreshes what comes from API objects and returns where
 * everything stands; `teardown` unmounts and removes all of a Pod, and is safe to repeat after a crash.
 */
export class Volumes {
  readonly #options: VolumesOptions;
  readonly #blockDevices: BlockDevices;
  /** By Pod, since its volumes were last prepared. */
  readonly #mounted = new Map<string, MountedVolumes>();
  readonly #preparing = new KeyedMutex();

  constructor(options: VolumesOptions) {
    this.#options = options;
    this.#blockDevices = new BlockDevices(options);
  }

  podFolder(uid: string): string {
    return path.join(this.#options.podsRoot, uid);
  }

  #mountFolder(uid: string): string {
    return path.join(this.#options.mountsRoot, uid);
  }

  /** One at a time for a Pod: of two that write the same files, the one that read its objects first would undo the other's. */
  prepare(pod: Pod, facts: PodFacts): Promise<MountedVolumes> {
    return this.#preparing.run(pod.metadata.uid!, () => this.#prepareAll(pod, facts));
  }

  async #prepareAll(pod: Pod, facts: PodFacts): Promise<MountedVolumes> {
    const volumes = pod.spec?.volumes ?? [];
    const prepared = await Promise.all(
      volumes.map(async (volume) => {
        try {
          return [volume.name, await this.#prepareOne(pod, volume, facts)] as const;
        } catch (error) {
          if (hasCode(error, "internal")) throw error;
          throw failedPrecondition(
            `MountVolume.SetUp failed for volume "${volume.name}" : ${(error as Error).message}`,
            { cause: error, details: { volume: volume.name } },
          );
        }
      }),
    );
    const mounted = new Map(prepared);
    this.#mounted.set(pod.metadata.uid!, mounted);
    return mounted;
  }

  /** What `prepare` last made for the Pod; undefined when this process has prepared nothing. */
  mounted(uid: string): MountedVolumes | undefined {
    return this.#mounted.get(uid);
  }

  async #prepareOne(pod: Pod, volume: Volume, facts: PodFacts): Promise<MountedVolume> {
    if (volume.hostPath) {
      const { path: wanted, type = "" } = volume.hostPath;
      return { hostPath: await ensureHostPath(this.#options.usualFolder.toNode(wanted), type), readOnly: false };
    }
    if (volume.image) return { hostPath: "", readOnly: true, image: { image: volume.image.reference ?? "" } };
    if (volume.persistentVolumeClaim) {
      const { claimName, readOnly = false } = volume.persistentVolumeClaim;
      return this.#claim(pod, volume, claimName, readOnly);
    }
    if (volume.ephemeral) return this.#claim(pod, volume, `${pod.metadata.name}-${volume.name}`, false);
    if (volume.csi)
      return { hostPath: await this.#options.csi.mountInline(pod, volume), readOnly: volume.csi.readOnly ?? false };

    const root =
      volume.emptyDir && volume.emptyDir.medium !== "Memory"
        ? this.podFolder(pod.metadata.uid!)
        : this.#mountFolder(pod.metadata.uid!);
    const folder = path.join(root, "volumes", volume.name);
    if (volume.emptyDir) return this.#emptyDir(pod, folder, volume.emptyDir);
    const payload = await this.#payload(pod, volume, facts);
    if (!payload) {
      const kind = Object.keys(volume).find((key) => key !== "name") ?? "none";
      throw failedPrecondition(`volumes of type ${kind} are not supported by this node`);
    }
    await this.#onTmpfs(folder);
    const fsGroup = pod.spec?.securityContext?.fsGroup;
    await writeAtomically(folder, payload, fsGroup === undefined ? undefined : { gid: fsGroup });
    return { hostPath: folder, readOnly: false };
  }

  async #payload(pod: Pod, volume: Volume, facts: PodFacts): Promise<Payload | undefined> {
    const { api } = this.#options;
    const sources = {
      configMap: (namespace: string, name: string) => api.configMap(namespace, name),
      secret: (namespace: string, name: string) => api.secret(namespace, name),
      token: async (of: Pod, audience: string | undefined, seconds: number) =>
        (await this.#options.tokens.token(of, audience, seconds)).token,
    };
    if (volume.configMap) return configMapFiles(pod, volume.configMap, sources);
    if (volume.secret) return secretFiles(pod, volume.secret, sources);
    if (volume.downwardAPI)
      return downwardFiles(pod, volume.downwardAPI.items ?? [], volume.downwardAPI.defaultMode, facts);
    if (volume.projected) return projectedFiles(pod, volume.projected, facts, sources);
    return undefined;
  }

  /** Secrets never touch the disk: what comes from the API stands in memory. */
  async #onTmpfs(folder: string): Promise<void> {
    if (await isMountPoint(folder)) return;
    await mkdir(folder, { recursive: true });
    await this.#options.host.mountTmpfs(folder, { mode: 0o755 });
  }

  async #emptyDir(pod: Pod, folder: string, source: { medium?: string; sizeLimit?: string }): Promise<MountedVolume> {
    const existing = await stat(folder).catch(() => undefined);
    if (existing && (source.medium !== "Memory" || (await isMountPoint(folder))))
      return { hostPath: folder, readOnly: false };
    await mkdir(folder, { recursive: true });
    if (source.medium === "Memory") {
      await this.#options.host.mountTmpfs(folder, {
        mode: 0o1777,
        ...(source.sizeLimit ? { sizeBytes: parseQuantity(source.sizeLimit) } : {}),
      });
    } else if (source.medium)
      throw failedPrecondition(`emptyDir medium ${source.medium} is not supported by this node`);
    const fsGroup = pod.spec?.securityContext?.fsGroup;
    if (fsGroup !== undefined) await chown(folder, 0, fsGroup);
    await chmod(folder, fsGroup !== undefined ? 0o2777 : 0o777);
    return { hostPath: folder, readOnly: false };
  }

  async #claim(pod: Pod, { name: volumeName }: Volume, name: string, readOnly: boolean): Promise<MountedVolume> {
    const claim = await this.#options.api.persistentVolumeClaim(pod.metadata.namespace!, name);
    if (!claim) throw notFound(`persistentvolumeclaim "${name}" not found`);
    if (claim.status?.phase !== "Bound" || !claim.spec?.volumeName)
      throw failedPrecondition(`persistentvolumeclaim "${name}" is not bound`);
    const volume = await this.#options.api.persistentVolume(claim.spec.volumeName);
    if (!volume) throw notFound(`persistentvolume "${claim.spec.volumeName}" not found`);
    const block = volume.spec?.volumeMode === "Block";
    checkUse(pod, volumeName, block);
    if (volume.spec?.csi) {
      const hostPath = await this.#options.csi.mountClaimed(pod, volume, readOnly);
      await this.#options.csi.expand(pod, claim, volume);
      return { hostPath, readOnly: readOnly || (volume.spec.csi.readOnly ?? false), ...(block && { block }) };
    }
    const source = volume.spec?.hostPath
      ? await ensureHostPath(volume.spec.hostPath.path, volume.spec.hostPath.type ?? "")
      : volume.spec?.local?.path;
    if (!source)
      throw failedPrecondition(
        `persistentvolume "${volume.metadata.name}" is of a type that this node does not support`,
      );
    if (block) {
      const hostPath = await this.#blockDevices.prepare(pod.metadata.uid!, volumeName, source);
      return { hostPath, readOnly, block };
    }
    await stat(source).catch((cause: unknown) => {
      throw failedPrecondition(`path "${source}" does not exist`, { cause });
    });
    return { hostPath: source, readOnly };
  }

  /** The mounts of one container, subpaths resolved and pinned. */
  async containerMounts(pod: Pod, container: Container, volumes: MountedVolumes, env: EnvVars): Promise<cri.Mount[]> {
    const mounts: cri.Mount[] = [];
    for (const [index, mount] of (container.volumeMounts ?? []).entries()) {
      const volume = volumes.get(mount.name);
      if (!volume)
        throw failedPrecondition(`cannot find volume "${mount.name}" to mount into container "${container.name}"`);
      const subPath = mount.subPathExpr ? expand(mount.subPathExpr, (name) => env.get(name)) : (mount.subPath ?? "");
      const base = {
        containerPath: path.posix.resolve("/", mount.mountPath),
        readonly: (mount.readOnly ?? false) || volume.readOnly,
        propagation:
          ({ HostToContainer: "HOST_TO_CONTAINER", Bidirectional: "BIDIRECTIONAL" } as const)[
            mount.mountPropagation as "HostToContainer"
          ] ?? "PRIVATE",
      };
      if (volume.image)
        mounts.push({ ...base, hostPath: "", image: volume.image, ...(subPath ? { imageSubPath: subPath } : {}) });
      else
        mounts.push({
          ...base,
          hostPath: subPath ? await this.#subPath(pod, container, index, volume.hostPath, subPath) : volume.hostPath,
        });
    }
    return mounts;
  }

  /** The devices that one container has of volumes of mode Block. */
  containerDevices(container: Container, volumes: MountedVolumes): cri.Device[] {
    return (container.volumeDevices ?? []).map(({ name, devicePath }) => {
      const volume = volumes.get(name);
      if (!volume?.block)
        throw failedPrecondition(`cannot find volume "${name}" to pass into container "${container.name}"`);
      return { hostPath: volume.hostPath, containerPath: devicePath, permissions: volume.readOnly ? "mr" : "mrw" };
    });
  }

  /** Pins the subpath by a bind mount of our own, so that nothing inside the volume can swap it for a link between check and use. */
  async #subPath(pod: Pod, container: Container, index: number, root: string, subPath: string): Promise<string> {
    if (path.isAbsolute(subPath) || subPath.split("/").includes(".."))
      throw failedPrecondition(`subPath ${JSON.stringify(subPath)} must be relative and without '..'`);
    const target = path.join(this.#mountFolder(pod.metadata.uid!), "subpaths", container.name, String(index));
    await this.#options.host.unmount(target);
    try {
      await this.#options.host.bindBeneath(root, subPath, target);
    } catch (cause) {
      throw failedPrecondition(
        `failed to prepare subPath for volumeMount ${JSON.stringify(container.volumeMounts![index]!.name)} of container ${JSON.stringify(container.name)}: ${messageOf(cause)}`,
        { cause },
      );
    }
    return target;
  }

  async teardown(uid: string): Promise<void> {
    this.#options.tokens.forget(uid);
    await this.release(uid);
    await rm(this.podFolder(uid), { recursive: true, force: true });
  }

  /** Gives back what is mounted for a Pod that has ended; what it has on disk stays until it is deleted. Idempotent. */
  release(uid: string): Promise<void> {
    return this.#preparing.run(uid, () => this.#unmountAll(uid));
  }

  async #unmountAll(uid: string): Promise<void> {
    this.#mounted.delete(uid);
    const mounts = this.#mountFolder(uid);
    if (!(await stat(mounts).catch(() => undefined))) return;
    // Pinned subpaths first: a driver can't unmount what they hold.
    for (const mount of await this.#options.host.mountsBelow(path.join(mounts, "subpaths")))
      await this.#options.host.unmount(mount);
    await this.#options.csi.teardown(uid);
    await this.#blockDevices.teardown(uid);
    for (const mount of await this.#options.host.mountsBelow(mounts)) await this.#options.host.unmount(mount);
    await rm(mounts, { recursive: true, force: true });
  }

  /** Pods that left something on this node. */
  async known(): Promise<string[]> {
    const lists = await Promise.all(
      [this.#options.podsRoot, this.#options.mountsRoot].map((root) => readdir(root).catch(() => [])),
    );
    return [...new Set(lists.flat())];
  }
}

/** A device is no folder, nor the other way round. In upstream's words. */
function checkUse(pod: Pod, name: string, block: boolean): void {
  const { initContainers = [], containers } = pod.spec!;
  const all = [...initContainers, ...containers];
  const mode = block ? "Block" : "Filesystem";
  const wrong = block ? "volumeMounts" : "volumeDevices";
  if (all.some((container) => container[wrong]?.some((use) => use.name === name)))
    throw failedPrecondition(`volume ${name} has volumeMode ${mode}, but is specified in ${wrong}`);
}

async function isMountPoint(folder: string): Promise<boolean> {
  const [own, parent] = await Promise.all([
    stat(folder).catch(() => undefined),
    stat(path.dirname(folder)).catch(() => undefined),
  ]);
  return own !== undefined && parent !== undefined && own.dev !== parent.dev;
}

/** https://kubernetes.io/docs/concepts/storage/volumes/#hostpath-volume-types */
async function ensureHostPath(target: string, type: string): Promise<string> {
  const found = await stat(target).catch(() => undefined);
  if (!found && type === "DirectoryOrCreate") await mkdir(target, { recursive: true, mode: 0o755 });
  else if (!found && type === "FileOrCreate") await (await open(target, "a", 0o644)).close();
  else if (!found && type === "") await mkdir(target, { recursive: true, mode: 0o755 });
  else if (!found || !matches(await lstat(target).then((link) => (link.isSymbolicLink() ? found : link)), type)) {
    throw failedPrecondition(
      `hostPath type check failed: ${target} is not ${{ Directory: "a directory", DirectoryOrCreate: "a directory", File: "a file", FileOrCreate: "a file", Socket: "a socket file", CharDevice: "a character device", BlockDevice: "a block device" }[type] ?? type}`,
    );
  }
  return target;
}

function matches(
  found: {
    isDirectory(): boolean;
    isFile(): boolean;
    isSocket(): boolean;
    isCharacterDevice(): boolean;
    isBlockDevice(): boolean;
  },
  type: string,
): boolean {
  switch (type) {
    case "Directory":
    case "DirectoryOrCreate":
      return found.isDirectory();
    case "File":
    case "FileOrCreate":
      return found.isFile();
    case "Socket":
      return found.isSocket();
    case "CharDevice":
      return found.isCharacterDevice();
    case "BlockDevice":
      return found.isBlockDevice();
    default:
      return true;
  }
}
