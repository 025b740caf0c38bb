import path from "node:path";
import { busybox, folders, keepInitramfs, kernelModules, ownFile, programs } from "./archive.ts";
import type { Kernel } from "./kernel.ts";

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
const APPLETS = (
  "sh mount umount mkdir ln cat cp mv rm insmod ip kill ls poweroff reboot sleep grep sed head tail sync hostname touch " +
  "ps sysctl test true false echo chmod date switch_root"
).split(" ");
/** For machines made from OCI images; from the host's own packages, with the libraries they need. */
const PROGRAMS = ["/usr/sbin/qemu-ga", "/usr/bin/unshare", "/usr/sbin/resize2fs"];

/** The initramfs of whole machines for a kernel, as a file in the cache. */
export async function machineInitramfs(cache: string, kernel: Kernel): Promise<string> {
  const own = (name: string) => path.join(import.meta.dirname, name);
  const entries = [
    ...folders(["bin", "dev", "proc", "sys", "root", "modules", "lib", "lib64"]),
    await ownFile("init", own("boot.sh"), true),
    await ownFile("oci.sh", own("oci.sh")),
    ...(await busybox(APPLETS)),
    ...(await kernelModules(kernel, MACHINE_MODULES)),
    ...(await programs(PROGRAMS, "apt-get install qemu-guest-agent")),
  ];
  return keepInitramfs(cache, "machine", kernel, entries);
}
