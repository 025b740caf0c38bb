import path from "node:path";
import { busybox, folders, keepInitramfs, kernelModules, ownFile, programs } from "../../guest/archive.ts";
import type { Kernel } from "../../guest/kernel.ts";

const MODULES = ["virtio_pci", "virtio_net", "virtiofs"];
/** What the agent's scripts call. */
const APPLETS = (
  "sh mount umount mkdir ln cat cp mv rm kill ls sleep grep sed head tail sync touch stty ps dd rmdir test true false " +
  "echo chmod date"
).split(" ");
/** From the host's own packages. */
const PROGRAMS = ["/usr/bin/crun", "/usr/bin/perl"];
const PACKAGES = "apt-get install qemu-system-x86 qemu-system-common seabios busybox-static perl-base crun";
const SCRIPTS = ["netlink.pl", "agent.pl", "identity.pl", "top.pl"];
const FOLDERS = ["bin", "dev", "proc", "sys", "run", "tmp", "share", "modules", "lib64", "lib"];

/** The initramfs of microVMs for a kernel, as a file in the cache. */
export async function microInitramfs(cache: string, kernel: Kernel): Promise<string> {
  const own = (name: string) => path.join(import.meta.dirname, name);
  const entries = [
    ...folders(FOLDERS),
    await ownFile("init", own("init.pl"), true),
    ...(await Promise.all(SCRIPTS.map((name) => ownFile(name, own(name))))),
    ...(await busybox(APPLETS)),
    ...(await kernelModules(kernel, MODULES)),
    ...(await programs(PROGRAMS, PACKAGES)),
  ];
  return keepInitramfs(cache, "micro", kernel, entries);
}
