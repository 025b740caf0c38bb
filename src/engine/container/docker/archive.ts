import path from "node:path";
import type { Readable } from "node:stream";
import { hasCode, notFound, permissionDenied } from "../../../base/index.ts";
import { statInRoot, tarFromRoot, untarIntoRoot, type FilesRoot, type PathStat } from "../files/files.ts";
import { resolveUser } from "../spec/user.ts";
import { isRunning, type ContainerRecord } from "./record.ts";
import type { DockerContainers } from "./service.ts";
import { mappingsOf } from "./userns.ts";

export type { PathStat } from "../files/files.ts";

/** `docker cp`, from outside: what a path in the container is. */
export async function statPath(service: DockerContainers, ref: string, file: string): Promise<PathStat> {
  const record = service.store.get(ref);
  return withRoot(service, record, (root) => named(record, file, () => statInRoot(root, absolute(file))));
}

/** The tar of a path under its last component's name; a path that ends in `/.` stands under `.`. */
export async function readArchive(
  service: DockerContainers,
  ref: string,
  file: string,
  signal: AbortSignal,
): Promise<{ stat: PathStat; chunks: AsyncGenerator<Uint8Array> }> {
  const record = service.store.get(ref);
  const stat = await statPath(service, ref, file);
  const name = file.endsWith("/.") || file === "." ? "." : path.basename(absolute(file)) || "/";
  const chunks = async function* () {
    yield* lease(service, record, (root) => tarFromRoot(root, absolute(file), name === "/" ? "." : name, signal));
  };
  return { stat, chunks: chunks() };
}

export async function writeArchive(
  service: DockerContainers,
  ref: string,
  directory: string,
  archive: Readable,
  options: { noOverwriteDirNonDir?: boolean; copyUidGid?: boolean },
  signal: AbortSignal,
): Promise<void> {
  const record = service.store.get(ref);
  if (record.hostConfig.ReadonlyRootfs) {
    const inVolume = record.mounts.some(
      (mount) =>
        mount.RW &&
        (absolute(directory) === mount.Destination || absolute(directory).startsWith(`${mount.Destination}/`)),
    );
    if (!inVolume) throw permissionDenied("container rootfs is marked read-only");
  }
  await withRoot(service, record, async (root) => {
    const owner = options.copyUidGid ? await resolveUser(root.path, record.config.User ?? "") : undefined;
    const untar = {
      noOverwriteDirNonDir: options.noOverwriteDirNonDir,
      owner: owner && { uid: owner.uid, gid: owner.gid },
    };
    await named(record, directory, () => untarIntoRoot(root, absolute(directory), archive, untar, signal));
  });
  service.event(record, "extract-to-dir");
}

/** `docker export`: the whole root filesystem, without what is mounted in it. */
export async function* exportContainer(
  service: DockerContainers,
  ref: string,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const record = service.store.get(ref);
  yield* lease(service, record, (root) => tarFromRoot(root, "/", "", signal), true);
  service.event(record, "export");
}

const absolute = (file: string) => path.join("/", file);

async function named<T>(record: ContainerRecord, file: string, task: () => Promise<T>): Promise<T> {
  try {
    return await task();
  } catch (error) {
    if (!hasCode(error, "notFound")) throw error;
    throw notFound(`Could not find the file ${file} in container ${record.name}`, { cause: error });
  }
}

async function withRoot<T>(
  service: DockerContainers,
  record: ContainerRecord,
  task: (root: FilesRoot) => Promise<T>,
): Promise<T> {
  await using root = await openRoot(service, record, false);
  return await task(root);
}

async function* lease<T>(
  service: DockerContainers,
  record: ContainerRecord,
  task: (root: FilesRoot) => AsyncGenerator<T>,
  withoutMounts = false,
): AsyncGenerator<T> {
  await using root = await openRoot(service, record, withoutMounts);
  yield* task(root);
}

/** A running container's own view of its root, volumes and all; else its snapshot, mounted for as long as it is needed. */
async function openRoot(
  service: DockerContainers,
  record: ContainerRecord,
  withoutMounts: boolean,
): Promise<FilesRoot & AsyncDisposable> {
  if (isRunning(record)) {
    const inside = async () => (await service.live(record).container.rootPath?.()) ?? `/proc/${record.state.pid}/root`;
    const root = withoutMounts ? service.launcher.rootfs(record) : await inside();
    return { path: root, owners: mappingsOf(service.deps, record.hostConfig), [Symbol.asyncDispose]: async () => {} };
  }
  return service.borrowRoot(record, withoutMounts);
}
