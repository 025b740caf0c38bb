import path from "node:path";
import { currentInstance } from "../instance.ts";
import { startDetached, stopDaemon } from "../daemon-process.ts";
import { clusterAct } from "../demo/cluster.ts";
import { dockerAct } from "../demo/docker.ts";
import { Story } from "../demo/story.ts";
import { vmAct } from "../demo/vm.ts";
import { ensurePackages } from "../packages.ts";
import { reset } from "./daemon.ts";

/** One act per layer, played in order on an instance of the demo's own. */
const ACTS = [dockerAct, clusterAct];

export async function demo(options: { yes?: boolean; keep?: boolean; vm?: boolean }): Promise<void> {
  // Beside another instance than the default one, so that whoever works with several of them can have a demo of each.
  const beside = process.env["BERTH_INSTANCE"];
  process.env["BERTH_INSTANCE"] = beside && beside !== "default" ? `${beside}-demo` : "demo";
  // Directories that were chosen for another instance are not ours to fill and to remove.
  for (const name of ["BERTH_DATA_DIR", "BERTH_RUNTIME_DIR"]) {
    if (process.env[name]) process.env[name] = path.join(process.env[name], "demo");
  }
  await ensurePackages(options.vm ? ["engine", "vm"] : ["engine"], options);
  const instance = currentInstance();
  const story = new Story();
  story.say(`An instance of its own, "${instance.name}", so that nothing of yours is touched.`);
  await story.act(`berth --instance ${instance.name} up -d`, async () => {
    await stopDaemon(instance);
    const status = await startDetached(instance);
    return `ready: ${status.services.map(({ name, startMs }) => `${name} ${startMs} ms`).join(", ")}`;
  });
  try {
    for (const act of options.vm ? [...ACTS, vmAct] : ACTS) await act(story, instance);
  } finally {
    if (options.keep)
      story.say(`Left running: berth --instance ${instance.name} status; berth --instance ${instance.name} reset`);
    else {
      story.say("Leaving nothing behind.");
      await story.act(`berth --instance ${instance.name} reset --yes`, async () => {
        await reset({ yes: true });
        return "";
      });
    }
  }
  story.end();
}
