import { existsSync, rmSync } from "node:fs";
import { kernelName } from "../base/index.ts";
import { openEngine, type Engine } from "../engine/index.ts";
import { detachLoop, findLeftovers, LinuxNetlinkHost, LinuxNft, loopDevices } from "../host/index.ts";
import { CniNetwork } from "../node/index.ts";
import type { DaemonContext } from "./context.ts";
import { machinesFolder } from "./services/vm-api.ts";
import { vmIsolation } from "./services/vm.ts";

/**
 * Removes everything that an instance has: containers, links, rules, mounts, cgroups, and last its two directories. Works on what a killed
 * daemon left as well, since all of it bears the instance's name. The caller holds the instance's lock.
 */
export async function reset(context: DaemonContext): Promise<void> {
  if (context.config.cni) await releasePluginNetworks(context, context.config.cni);
  const engine = await openEngine(context, { ...context.config, isolations: [vmIsolation(context)] });
  await destroyMachines(context, engine);
  await engine.destroyAll();
  await engine.close();
  sweepNetwork(kernelName(context.instance));
  for (const { device, file } of loopDevices()) if (file.startsWith(`${context.dataDir}/`)) detachLoop(device);
  for (const directory of [context.runtimeDir, context.dataDir]) rmSync(directory, { recursive: true, force: true });
}

async function destroyMachines(context: DaemonContext, engine: Engine): Promise<void> {
  if (!existsSync(machinesFolder(context))) return;
  const { Machines } = await import("../vm/index.ts");
  const machines = await Machines.open(context, engine, { autostart: false });
  await machines.destroyAll();
  await machines.close();
}

/** What CNI plugins made bears their names, not ours: only they can take it back. */
async function releasePluginNetworks(
  context: DaemonContext,
  cni: NonNullable<DaemonContext["config"]["cni"]>,
): Promise<void> {
  const network = new CniNetwork(context, cni);
  await network.open();
  await network.recover(new Set());
}

/** Links and tables of the cluster's rooms (Pods, Services, DNS), and whatever else bears the instance's name. */
function sweepNetwork(prefix: string): void {
  const { links, tables } = findLeftovers(prefix);
  using netlink = new LinuxNetlinkHost().open();
  for (const { name } of links) {
    // The other end of a pair goes with the first.
    const link = netlink.link(name);
    if (link) netlink.deleteLink(link.index);
  }
  const nft = new LinuxNft();
  for (const table of tables) nft.deleteTable("inet", table);
}
