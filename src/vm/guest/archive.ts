import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readFile, realpath, rename, writeFile } from "node:fs/promises";
import path from "node:path";
import { failedPrecondition, systemClock } from "../../base/index.ts";
import { run } from "../../host/index.ts";
import { forgetUnused, touch } from "./cache.ts";
import { packCpio, type CpioEntry } from "./cpio.ts";
import { moduleClosure, type Kernel } from "./kernel.ts";
import { parseLdd } from "./libraries.ts";

/** What initramfs archives are made of. */
const DIRECTORY = 0o040755;
const PROGRAM = 0o100755;
const FILE = 0o100644;
const LINK = 0o120777;
const CHARACTER_DEVICE = 0o020600;
const BUSYBOX = "/usr/bin/busybox";

/** Archives of so many versions are kept. */
const MAX_ARCHIVES = 4;

/** Keeps an archive as a file in the cache, named after its kernel and contents: made once for each set of contents. */
export async function keepInitramfs(
  cache: string,
  name: string,
  kernel: Kernel,
  entries: readonly CpioEntry[],
): Promise<string> {
  const bytes = packCpio(entries);
  const digest = createHash("sha256").update(bytes).digest("hex").slice(0, 16);
  const file = path.join(cache, `${name}-${kernel.version}-${digest}.cpio`);
  if (!existsSync(file)) {
    await mkdir(cache, { recursive: true });
    const fresh = `${file}.${process.pid}`;
    await writeFile(fresh, bytes);
    await rename(fresh, file);
  }
  await touch(file, systemClock);
  await forgetUnused(cache, new RegExp(`^${name}-.*\\.cpio$`), MAX_ARCHIVES, systemClock);
  return file;
}

export function folders(names: readonly string[]): CpioEntry[] {
  const console: CpioEntry = { path: "dev/console", mode: CHARACTER_DEVICE, device: [5, 1] };
  return [...names.map((name) => ({ path: name, mode: DIRECTORY })), console];
}

/** `name` in the archive is a file of the project's own. */
export async function ownFile(name: string, source: string, executable = false): Promise<CpioEntry> {
  return { path: name, mode: executable ? PROGRAM : FILE, content: await readFile(source) };
}

export async function busybox(applets: readonly string[]): Promise<CpioEntry[]> {
  return [
    { path: "bin/busybox", mode: PROGRAM, content: await readFile(await realpath(BUSYBOX)) },
    ...applets.map((name) => ({ path: `bin/${name}`, mode: LINK, content: Buffer.from("busybox") })),
  ];
}

/** The modules and what they depend on, below `modules/`, with the order in which they load. */
export async function kernelModules(kernel: Kernel, wanted: readonly string[]): Promise<CpioEntry[]> {
  const files = await moduleClosure(kernel, wanted);
  const order = files.map((file) => `${path.basename(file)}\n`).join("");
  return [
    { path: "modules/order", mode: FILE, content: Buffer.from(order) },
    ...(await Promise.all(files.map((file) => ownFile(`modules/${path.basename(file)}`, file)))),
  ];
}

/** Programs of the host with the libraries they need. Throws failedPrecondition, with `hint`, when one is not installed. */
export async function programs(files: readonly string[], hint: string): Promise<CpioEntry[]> {
  const libraries = new Map<string, string>();
  for (const file of files) {
    if (!existsSync(file)) throw failedPrecondition(`${file} is not installed`, { hint });
    const { stdout } = await run(["/usr/bin/ldd", file]);
    for (const library of parseLdd(stdout)) libraries.set(path.basename(library), library);
  }
  const folderOf = (name: string) => (name.startsWith("ld-linux") ? "lib64" : "lib");
  const sources = [
    ...files.map((file) => [`bin/${path.basename(file)}`, file] as const),
    ...[...libraries].map(([name, file]) => [`${folderOf(name)}/${name}`, file] as const),
  ];
  return Promise.all(
    sources.map(async ([name, file]) => ({ path: name, mode: PROGRAM, content: await readFile(await realpath(file)) })),
  );
}
