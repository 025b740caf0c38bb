import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readFile, realpath, rename, writeFile } from "node:fs/promises";
import path from "node:path";
import { notFound } from "../../base/index.ts";
import { run } from "../../host/index.ts";
import { packCpio, type CpioEntry } from "./cpio.ts";
import { initScript } from "./init.ts";
import { moduleClosure, type Kernel } from "./kernel.ts";

/** What a microVM drives: its bus, its ports, its network card, its share. */
const MODULES = ["virtio_pci", "virtio_console", "virtio_net", "virtiofs", "overlay", "virtio_balloon", "virtio_rng"];
const BUSYBOX = "/bin/busybox";
const RUNTIME = "/usr/bin/crun";

/** The initramfs of microVMs for a kernel, made once and kept by its content. */
export async function openInitramfs(cacheDir: string, kernel: Kernel): Promise<string> {
  const entries = await initramfsEntries(kernel);
  const archive = packCpio(entries);
  const digest = createHash("sha256").update(archive).digest("hex").slice(0, 16);
  const file = path.join(cacheDir, "initramfs", `${kernel.version}-${digest}.cpio`);
  if (existsSync(file)) return file;
  await mkdir(path.dirname(file), { recursive: true, mode: 0o755 });
  await writeFile(`${file}.new`, archive, { mode: 0o644 });
  await rename(`${file}.new`, file);
  return file;
}

async function initramfsEntries(kernel: Kernel): Promise<CpioEntry[]> {
  const folder = (name: string): CpioEntry => ({ path: name, mode: 0o040755 });
  const program = async (name: string, source: string): Promise<CpioEntry> => ({
    path: name,
    mode: 0o100755,
    content: await readFile(source),
  });
  if (!existsSync(BUSYBOX)) throw notFound("microVMs need busybox", { hint: "apt-get install busybox-static" });
  const modules = await moduleClosure(kernel, MODULES);
  const libraries = await sharedLibraries(RUNTIME);
  const folders = new Set([
    "bin",
    "dev",
    "proc",
    "sys",
    "usr",
    "usr/bin",
    "sbin",
    "etc",
    "modules",
    ...libraries.flatMap((library) => parents(library.slice(1))),
  ]);
  return [
    ...[...folders].sort().map(folder),
    { path: "dev/console", mode: 0o020600, device: [5, 1] },
    { path: "etc/passwd", mode: 0o100644, content: Buffer.from("root:x:0:0:root:/root:/bin/sh\n") },
    { path: "etc/group", mode: 0o100644, content: Buffer.from("root:x:0:\n") },
    await program("bin/busybox", BUSYBOX),
    await program("usr/bin/crun", RUNTIME),
    ...(await Promise.all(libraries.map(async (library) => program(library.slice(1), await realpath(library))))),
    ...(await Promise.all(
      modules.map(async (file): Promise<CpioEntry> => ({
        path: `modules/${path.basename(file)}`,
        mode: 0o100644,
        content: await readFile(file),
      })),
    )),
    { path: "init", mode: 0o100755, content: Buffer.from(initScript(modules.map((file) => path.basename(file)))) },
  ];
}

/** A program's shared libraries and its loader, as the dynamic linker names them. */
async function sharedLibraries(program: string): Promise<string[]> {
  const { code, stdout, stderr } = await run(["/usr/bin/ldd", program]);
  if (code !== 0) throw notFound(`microVMs need ${program}: ${stderr.trim()}`, { hint: "apt-get install crun" });
  return parseLdd(stdout);
}

export function parseLdd(text: string): string[] {
  return text.split("\n").flatMap((line) => /(?:=> )?(\/\S+) \(0x/.exec(line)?.[1] ?? []);
}

function parents(file: string): string[] {
  const parts = file.split("/").slice(0, -1);
  return parts.map((_, index) => parts.slice(0, index + 1).join("/"));
}
