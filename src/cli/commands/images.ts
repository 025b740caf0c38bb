import { createReadStream, existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import { Readable } from "node:stream";
import { invalidArgument, notFound, humanDuration, systemClock } from "../../base/index.ts";
import { toImageReference } from "../arguments.ts";
import { allCredentials, credentialsFor, encodeHeader, registryOf } from "../credentials.ts";
import { SocketClient } from "../http.ts";
import { currentInstance } from "../instance.ts";
import { showProgress, type ProgressLine } from "../output/progress.ts";
import { size, table } from "../output/table.ts";
import { print } from "../output/terminal.ts";

const engine = () => new SocketClient(currentInstance().dockerSocket);

interface ImageRow {
  readonly Id: string;
  readonly RepoTags: string[] | null;
  readonly Created: number;
  readonly Size: number;
}

export async function list(options: { quiet?: boolean; json?: boolean }): Promise<void> {
  const images = await engine().json<ImageRow[]>("GET", "/images/json");
  if (options.json) return print(JSON.stringify(images));
  const short = (id: string) => id.replace("sha256:", "").slice(0, 12);
  if (options.quiet) return images.forEach((image) => print(short(image.Id)));
  const nowMs = systemClock.nowMs();
  const rows = images.flatMap((image) =>
    (image.RepoTags?.length ? image.RepoTags : ["<none>:<none>"]).map((name) => {
      const { repository, tag = "<none>" } = toImageReference(name);
      return [repository, tag, short(image.Id), `${humanDuration(nowMs - image.Created * 1000)} ago`, size(image.Size)];
    }),
  );
  print(table(["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"], rows));
}

export async function pull(name: string, options: { quiet?: boolean }): Promise<void> {
  const { repository, tag } = toImageReference(name);
  const call = { query: { fromImage: repository, tag }, headers: await authHeader(name) };
  await showProgress(engine().lines<ProgressLine>("POST", "/images/create", call), options);
}

export async function push(name: string, options: { quiet?: boolean }): Promise<void> {
  const { repository, tag } = toImageReference(name);
  const call = { query: { tag }, headers: await authHeader(name) };
  await showProgress(engine().lines<ProgressLine>("POST", `/images/${repository}/push`, call), options);
}

/** The user's credentials for an image's registry, where there are any. */
async function authHeader(image: string): Promise<Record<string, string>> {
  const credentials = await credentialsFor(registryOf(image));
  return credentials ? { "x-registry-auth": encodeHeader(credentials) } : {};
}

export async function tag(image: string, name: string): Promise<void> {
  const { repository, tag: newTag } = toImageReference(name);
  await engine().json("POST", `/images/${image}/tag`, { query: { repo: repository, tag: newTag } });
}

export async function bootstrap(name: string): Promise<void> {
  await showProgress(engine().lines<ProgressLine>("POST", "/berth/images/bootstrap", { query: { name } }));
}

export interface BuildFlags {
  readonly tag?: string[];
  readonly file?: string;
  readonly target?: string;
  readonly buildArg?: string[];
  readonly cacheFrom?: string[];
  readonly cacheTo?: string[];
  readonly cache?: boolean;
  readonly pull?: boolean;
  readonly quiet?: boolean;
}

export async function build(context: string, flags: BuildFlags): Promise<void> {
  const dockerfile = flags.file ?? "Dockerfile";
  if (!existsSync(context) || !statSync(context).isDirectory()) throw notFound(`no folder "${context}" to build from`);
  if (!existsSync(path.join(context, dockerfile))) {
    throw notFound(`no ${dockerfile} in ${path.resolve(context)}`, {
      hint: "name it with -f, relative to the context",
    });
  }
  const body = Readable.from(packContext(context, dockerfile));
  const query = new URLSearchParams({
    dockerfile,
    buildargs: JSON.stringify(buildArguments(flags.buildArg ?? [])),
    nocache: String(flags.cache === false),
    q: String(flags.quiet === true),
    rm: "1",
  });
  for (const name of flags.tag ?? []) query.append("t", name);
  if (flags.target) query.set("target", flags.target);
  if (flags.cacheFrom) query.set("cachefrom", JSON.stringify(flags.cacheFrom.map(absoluteFolder)));
  if (flags.cacheTo) query.set("cacheto", JSON.stringify(flags.cacheTo.map(absoluteFolder)));
  if (flags.pull) query.set("pull", "1");
  const lines = engine().lines<ProgressLine>("POST", `/build?${query.toString()}`, {
    body,
    contentType: "application/x-tar",
    headers: { "x-registry-config": encodeHeader(await allCredentials()) },
  });
  const result = (await showProgress(lines, flags)) as { ID?: string } | undefined;
  if (flags.quiet && result?.ID) print(result.ID);
}

/** A cache's folder as the daemon, which works elsewhere, finds it. */
function absoluteFolder(option: string): string {
  return option.replace(
    /\b(src|dest)=([^,]*)/,
    (_, field: string, folder: string) => `${field}=${path.resolve(folder)}`,
  );
}

function buildArguments(values: readonly string[]): Record<string, string | null> {
  return Object.fromEntries(
    values.map((value) => {
      const at = value.indexOf("=");
      if (at === 0) throw invalidArgument(`invalid build argument "${value}"`, { hint: "NAME=VALUE" });
      return at > 0 ? [value.slice(0, at), value.slice(at + 1)] : [value, process.env[value] ?? null];
    }),
  );
}

/** The context as a tar, without what .dockerignore leaves out. */
export async function* packContext(context: string, dockerfile: string): AsyncGenerator<Uint8Array> {
  const [{ pack: createPack }, { default: ignoreModule }] = await Promise.all([
    import("tar-stream"),
    import("@balena/dockerignore"),
  ]);
  const ignoreFile = [`${dockerfile}.dockerignore`, ".dockerignore"]
    .map((name) => path.join(context, name))
    .find(existsSync);
  // The package's types say `default.default`, which it is not.
  const ignore = (ignoreModule as unknown as typeof ignoreModule.default)();
  if (ignoreFile) ignore.add(readFileSync(ignoreFile, "utf8"));
  const keep = (name: string) => name === dockerfile || name === ".dockerignore" || !ignore.ignores(name);
  const pack = createPack();
  const filling = fill(pack, context, keep).then(() => pack.finalize());
  filling.catch((error: Error) => pack.destroy(error));
  yield* pack as AsyncIterable<Uint8Array>;
  await filling;
}

async function fill(pack: import("tar-stream").Pack, context: string, keep: (name: string) => boolean): Promise<void> {
  const entries = readdirSync(context, { recursive: true, withFileTypes: true });
  for (const entry of entries.toSorted((a, b) => (a.parentPath + a.name < b.parentPath + b.name ? -1 : 1))) {
    const file = path.join(entry.parentPath, entry.name);
    const name = path.relative(context, file);
    if (!keep(name)) continue;
    await addEntry(pack, file, name);
  }
}

async function addEntry(pack: import("tar-stream").Pack, file: string, name: string): Promise<void> {
  const { lstatSync, readlinkSync } = await import("node:fs");
  const stat = lstatSync(file);
  const header = { name, mode: stat.mode & 0o7777, mtime: stat.mtime, uid: stat.uid, gid: stat.gid };
  if (stat.isDirectory()) return void pack.entry({ ...header, type: "directory" });
  if (stat.isSymbolicLink()) return void pack.entry({ ...header, type: "symlink", linkname: readlinkSync(file) });
  if (!stat.isFile()) return;
  await new Promise<void>((resolve, reject) => {
    const target = pack.entry({ ...header, size: stat.size }, (error) => (error ? reject(error) : resolve()));
    createReadStream(file).on("error", reject).pipe(target);
  });
}
