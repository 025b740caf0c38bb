import type { InstanceContext } from "../../base/index.ts";
import type { Readable } from "node:stream";
import type { VirtualMachinesController, VirtualMachinesOptions } from "./controller.ts";

/** Loads the controller only after everything that a starting cluster waits for. */
export async function startVirtualMachines(
  ctx: InstanceContext,
  options: VirtualMachinesOptions,
): Promise<VirtualMachinesController> {
  const { VirtualMachinesController } = await import("./controller.ts");
  const controller = new VirtualMachinesController(ctx, options);
  controller.start();
  return controller;
}

/** Made by berth itself, from no registry; another content is another version. */
export const LAUNCHER_IMAGE = "berth.dev/virtual-machine-launcher:v1";

/** The files of that image, as a tar. */
export async function launcherFiles(busybox: Buffer): Promise<Readable> {
  return (await import("./launcher-image.ts")).launcherFiles(busybox);
}
