import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { notFound, unavailable } from "../../base/index.ts";
import { run } from "../../host/index.ts";
import { unpackKernel } from "./vmlinux.ts";

/** A guest kernel: Debian's cloud kernel, unpacked from its package and never installed on the host. */
export interface Kernel {
  readonly version: string;
  /** The unpacked kernel where its package has it in a form that we know, else as it is in the package. */
  readonly image: string;
  /** The tree of `*.ko` files. */
  readonly modules: string;
}

const META_PACKAGES: Readonly<Record<string, string>> = {
  x64: "linux-image-cloud-amd64",
  arm64: "linux-image-cloud-arm64",
};
const DOWNLOAD_MS = 10 * 60_000;

/** The newest kernel in the cache, else one fetched from the operating system's packages. Throws unavailable where no package can be reached. */
export async function openKernel(cacheDir: string): Promise<Kernel> {
  const folder = path.join(cacheDir, "kernels");
  const kernel = (await newest(folder)) ?? (await fetchKernel(folder));
  return { ...kernel, image: await unpacked(kernel.image) };
}

/** Kept beside the packed one. */
async function unpacked(image: string): Promise<string> {
  const target = image.replace("vmlinuz-", "vmlinux-");
  if (existsSync(target)) return target;
  const kernel = unpackKernel(await readFile(image));
  if (!kernel) return image;
  const fresh = `${target}.${process.pid}`;
  await writeFile(fresh, kernel);
  await rename(fresh, target);
  return target;
}

async function newest(folder: string): Promise<Kernel | undefined> {
  const versions = (await readdir(folder).catch(() => []))
    .filter((name) => /^\d/.test(name))
    .sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  const version = versions.at(-1);
  if (version === undefined) return undefined;
  const root = path.join(folder, version);
  return {
    version,
    image: path.join(root, "boot", `vmlinuz-${version}`),
    modules: path.join(root, "lib", "modules", version, "kernel"),
  };
}

async function fetchKernel(folder: string): Promise<Kernel> {
  const meta = META_PACKAGES[process.arch];
  if (!meta) throw notFound(`there is no guest kernel for ${process.arch}`);
  await mkdir(folder, { recursive: true, mode: 0o755 });
  const work = await mkdtemp(path.join(folder, ".fetch-"));
  try {
    const depends = await tool(["/usr/bin/apt-cache", "depends", "--no-recommends", "--no-suggests", meta]);
    const name = /Depends: (linux-image-\S+)/.exec(depends)?.[1];
    if (!name) throw unavailable(`the package ${meta} is not known here`, { hint: "apt-get update" });
    await tool(["/bin/sh", "-c", 'cd "$1" && exec apt-get download -qq "$2"', "sh", work, name]);
    const [archive] = (await readdir(work)).filter((file) => file.endsWith(".deb"));
    if (!archive) throw unavailable(`the package ${name} could not be fetched`);
    await tool(["/usr/bin/dpkg-deb", "-x", path.join(work, archive), path.join(work, "root")]);
    const [image] = (await readdir(path.join(work, "root", "boot"))).filter((file) => file.startsWith("vmlinuz-"));
    const version = image!.slice("vmlinuz-".length);
    await rename(path.join(work, "root"), path.join(folder, version)).catch(async (error: NodeJS.ErrnoException) => {
      // Somebody else was faster: theirs is as good.
      if (error.code !== "ENOTEMPTY" && error.code !== "EEXIST") throw error;
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return (await newest(folder))!;
}

async function tool(argv: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await run(argv, { timeoutMs: DOWNLOAD_MS });
  if (code !== 0)
    throw unavailable(`cannot get a guest kernel: ${stderr.trim().split("\n").at(-1)}`, {
      hint: "microVMs take their kernel from the operating system's packages; check that apt-get works",
    });
  return stdout;
}

/** Modules and what they depend on, in an order in which they load. Those built into the kernel are left out. */
export async function moduleClosure(kernel: Kernel, wanted: readonly string[]): Promise<string[]> {
  const files = await moduleFiles(kernel.modules);
  const order = new Map<string, string>();
  const visit = async (name: string): Promise<void> => {
    const file = files.get(name);
    if (!file || order.has(name)) return;
    for (const dependency of dependenciesOf(await readFile(file, "latin1"))) await visit(dependency);
    order.set(name, file);
  };
  for (const name of wanted) await visit(name);
  return [...order.values()];
}

async function moduleFiles(folder: string): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (entry.isFile() && entry.name.endsWith(".ko"))
      files.set(entry.name.slice(0, -3).replaceAll("-", "_"), path.join(entry.parentPath, entry.name));
  }
  return files;
}

/** The `depends=` entry of a module's .modinfo section. */
export function dependenciesOf(module: string): string[] {
  const text = /\0depends=([^\0]*)\0/.exec(module)?.[1] ?? "";
  return text === "" ? [] : text.split(",").map((name) => name.replaceAll("-", "_"));
}
