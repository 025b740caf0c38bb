import { createHash, randomUUID } from "node:crypto";
import { existsSync, readdirSync } from "node:fs";
import { rm } from "node:fs/promises";
import path from "node:path";
import type { InstanceContext } from "../../base/index.ts";
import { LinuxNetns, run } from "../../host/index.ts";
import { KERNEL_COMMAND_LINE, machineArgv, type Accelerator } from "../hypervisor/argv.ts";
import { GuestAgent } from "./agent.ts";
import { Machine } from "./machine.ts";
import { machineFolder, type MicroGuest, type MicroHost } from "./sandbox.ts";
import { EMPTY_MEMORY_SCRIPT } from "./setup.ts";
import type { MachineShape } from "./template.ts";
import { removeFolder } from "./view.ts";

/** Boots a machine that belongs to nobody, in a network of its own, and saves it. Nothing of it is left. */
export async function saveTemplate(host: MicroHost, guest: MicroGuest, shape: MachineShape, target: string) {
  const id = `template-${randomUUID().slice(0, 8)}`;
  const folder = machineFolder(host, id);
  const netns = new LinuxNetns();
  const netnsPath = path.join(networksFolder(host.context), id);
  const inner = await host.process.createSandbox({ id });
  try {
    netns.create(netnsPath);
    const agent = new GuestAgent(netnsPath);
    await new Machine({ host, inner, folder, netnsPath, agent }).save(guest, shape, target);
  } finally {
    const bundles = inner.containers().map((container) => host.core.layout.bundle(container.id));
    await inner.destroy();
    for (const bundle of bundles) await rm(bundle, { recursive: true, force: true });
    netns.remove(netnsPath);
    await removeFolder(folder);
  }
}

const networksFolder = ({ runtimeDir }: InstanceContext): string => path.join(runtimeDir, "template-ns");

/** What a former daemon left that ended while it saved a machine. The machine itself is reclaimed with those of no record. */
export function forgetTemplateNetworks(context: InstanceContext): void {
  const folder = networksFolder(context);
  if (!existsSync(folder)) return;
  for (const name of readdirSync(folder)) new LinuxNetns().remove(path.join(folder, name));
}

/** Changes with whatever a saved machine depends on: kernel, initramfs (their names say their contents), QEMU, its arguments and the guest's set-up. */
export async function templateKey(
  files: { readonly image: string; readonly initramfs: string },
  accelerator: Accelerator,
) {
  const { stdout } = await run(["/usr/bin/qemu-system-x86_64", "--version"]);
  const size = { memoryBytes: 0, cpus: 1 };
  const parts = [
    path.basename(files.image),
    path.basename(files.initramfs),
    stdout,
    KERNEL_COMMAND_LINE,
    machineArgv({ ...size, accelerator, slots: 1, memoryFile: "memory" }),
    EMPTY_MEMORY_SCRIPT,
  ];
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex").slice(0, 16);
}
