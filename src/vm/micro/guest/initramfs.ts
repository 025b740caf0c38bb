import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readFile, realpath, rename, writeFile } from "node:fs/promises";
import path from "node:path";
import { failedPrecondition } from "../../../base/index.ts";
import { run } from "../../../host/index.ts";
import { packCpio, type CpioEntry } from "../../guest/cpio.ts";
import { parseLdd } from "../../guest/libraries.ts";
import { moduleClosure, type Kernel } from "../../guest/kernel.ts";

const DIRECTORY = 0o040755;
const PROGRAM = 0o100755;
const LINK = 0o120777;
const CHARACTER_DEVICE = 0o020600;

const MODULES = ["virtio_pci", "virtio_net", "virtiofs", "virtio_blk"];
const BUSYBOX = "/usr/bin/busybox";
/** What init and the agent's scripts call. */
const APPLETS = (
  "sh mount umount mkdir ln cat cp mv rm insmod ip kill ls poweroff reboot sleep grep sed head tail sync " +
  "unshare nsenter arp hostname touch stty ps sysctl dd rmdir test true false echo chmod date"
).split(" ");
/** From the host's own packages, with the libraries they need. */
const PROGRAMS = ["/usr/bin/crun", "/usr/bin/perl"];

/** The initramfs for a kernel, as a file in the cache: made once for each set of contents. */
export async function microInitramfs(cache: string, kernel: Kernel): Promise<string> {
  const bytes = packCpio(await entries(kernel));
  const digest = createHash("sha256").update(bytes).digest("hex").slice(0, 16);
  const file = path.join(cache, `micro-${kernel.version}-${digest}.cpio`);
  if (existsSync(file)) return file;
  await mkdir(cache, { recursive: true });
  const fresh = `${file}.${process.pid}`;
  await writeFile(fresh, bytes);
  await rename(fresh, file);
  return file;
}

async function entries(kernel: Kernel): Promise<CpioEntry[]> {
  const modules = await moduleClosure(kernel, MODULES);
  const own = (name: string) => readFile(path.join(import.meta.dirname, name));
  return [
    ...["bin", "dev", "proc", "sys", "run", "tmp", "share", "modules", "lib64", "lib"].map((name) => ({
      path: name,
      mode: DIRECTORY,
    })),
    { path: "dev/console", mode: CHARACTER_DEVICE, device: [5, 1] },
    { path: "init", mode: PROGRAM, content: await own("init.sh") },
    { path: "agent.pl", mode: 0o100644, content: await own("agent.pl") },
    { path: "top.pl", mode: 0o100644, content: await own("top.pl") },
    { path: "bin/busybox", mode: PROGRAM, content: await program(BUSYBOX) },
    ...APPLETS.map((name) => ({ path: `bin/${name}`, mode: LINK, content: Buffer.from("busybox") })),
    ...(await Promise.all(
      modules.map(async (file) => ({
        path: `modules/${path.basename(file)}`,
        mode: 0o100644,
        content: await readFile(file),
      })),
    )),
    {
      path: "modules/order",
      mode: 0o100644,
      content: Buffer.from(modules.map((file) => `${path.basename(file)}\n`).join("")),
    },
    ...(await programsWithLibraries()),
  ];
}

async function programsWithLibraries(): Promise<CpioEntry[]> {
  const libraries = new Map<string, string>();
  for (const file of PROGRAMS) {
    if (!existsSync(file))
      throw failedPrecondition(`${file} is not installed`, {
        hint: "apt-get install qemu-system-x86 qemu-system-common seabios busybox-static perl-base crun",
      });
    const { stdout } = await run(["/usr/bin/ldd", file]);
    for (const library of parseLdd(stdout)) libraries.set(path.basename(library), library);
  }
  const loader = [...libraries.values()].filter((file) => path.basename(file).startsWith("ld-linux"));
  return Promise.all([
    ...PROGRAMS.map(async (file) => ({
      path: `bin/${path.basename(file)}`,
      mode: PROGRAM,
      content: await program(file),
    })),
    ...[...libraries.values()].map(async (file) => ({
      path: `${loader.includes(file) ? "lib64" : "lib"}/${path.basename(file)}`,
      mode: PROGRAM,
      content: await program(file),
    })),
  ]);
}

async function program(file: string): Promise<Buffer> {
  return readFile(await realpath(file));
}
