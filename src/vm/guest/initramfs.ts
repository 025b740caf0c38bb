import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readFile, realpath, rename, writeFile } from "node:fs/promises";
import path from "node:path";
import { failedPrecondition } from "../../base/index.ts";
import { run } from "../../host/index.ts";
import { packCpio, type CpioEntry } from "./cpio.ts";
import { moduleClosure, type Kernel } from "./kernel.ts";
import { parseLdd } from "./libraries.ts";

const DIRECTORY = 0o040755;
const PROGRAM = 0o100755;
const FILE = 0o100644;
const LINK = 0o120777;
const CHARACTER_DEVICE = 0o020600;

/** What a machine's devices need that the cloud kernel has as modules. */
const MACHINE_MODULES: readonly string[] = [
  "virtio_pci",
  "virtio_blk",
  "virtio_net",
  "virtio_console",
  "virtio_balloon",
  "virtio_mem",
  "virtio_rng",
  "virtiofs",
  "isofs",
  // The power button.
  "button",
  "evdev",
];
const BUSYBOX = "/usr/bin/busybox";
const APPLETS = (
  "sh mount umount mkdir ln cat cp mv rm insmod ip kill ls poweroff reboot sleep grep sed head tail sync hostname touch " +
  "ps sysctl test true false echo chmod date switch_root"
).split(" ");
/** For machines made from OCI images; from the host's own packages, with the libraries they need. */
const PROGRAMS = ["/usr/sbin/qemu-ga", "/usr/bin/unshare", "/usr/sbin/resize2fs"];

/** The initramfs of whole machines for a kernel, as a file in the cache: made once for each set of contents. */
export async function machineInitramfs(cache: string, kernel: Kernel): Promise<string> {
  const bytes = packCpio(await entries(kernel));
  const digest = createHash("sha256").update(bytes).digest("hex").slice(0, 16);
  const file = path.join(cache, `machine-${kernel.version}-${digest}.cpio`);
  if (existsSync(file)) return file;
  await mkdir(cache, { recursive: true });
  const fresh = `${file}.${process.pid}`;
  await writeFile(fresh, bytes);
  await rename(fresh, file);
  return file;
}

async function entries(kernel: Kernel): Promise<CpioEntry[]> {
  const modules = await moduleClosure(kernel, MACHINE_MODULES);
  const own = (name: string) => readFile(path.join(import.meta.dirname, name));
  const order = modules.map((file) => `${path.basename(file)}\n`).join("");
  return [
    ...["bin", "dev", "proc", "sys", "root", "modules", "lib", "lib64"].map((name) => ({
      path: name,
      mode: DIRECTORY,
    })),
    { path: "dev/console", mode: CHARACTER_DEVICE, device: [5, 1] },
    { path: "init", mode: PROGRAM, content: await own("boot.sh") },
    { path: "oci.sh", mode: FILE, content: await own("oci.sh") },
    { path: "bin/busybox", mode: PROGRAM, content: await readFile(await realpath(BUSYBOX)) },
    ...APPLETS.map((name) => ({ path: `bin/${name}`, mode: LINK, content: Buffer.from("busybox") })),
    { path: "modules/order", mode: FILE, content: Buffer.from(order) },
    ...(await Promise.all(
      modules.map(async (file) => ({
        path: `modules/${path.basename(file)}`,
        mode: FILE,
        content: await readFile(file),
      })),
    )),
    ...(await programsWithLibraries()),
  ];
}

async function programsWithLibraries(): Promise<CpioEntry[]> {
  const libraries = new Map<string, string>();
  for (const file of PROGRAMS) {
    if (!existsSync(file))
      throw failedPrecondition(`${file} is not installed`, { hint: "apt-get install qemu-guest-agent" });
    const { stdout } = await run(["/usr/bin/ldd", file]);
    for (const library of parseLdd(stdout)) libraries.set(path.basename(library), library);
  }
  const folderOf = (name: string) => (name.startsWith("ld-linux") ? "lib64" : "lib");
  const files = [
    ...PROGRAMS.map((file) => [`bin/${path.basename(file)}`, file] as const),
    ...[...libraries].map(([name, file]) => [`${folderOf(name)}/${name}`, file] as const),
  ];
  return Promise.all(
    files.map(async ([name, file]) => ({ path: name, mode: PROGRAM, content: await readFile(await realpath(file)) })),
  );
}
