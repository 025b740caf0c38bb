import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { invalidArgument, unavailable } from "../../base/index.ts";
import { resources } from "../../client/index.ts";
import { currentInstance } from "../instance.ts";
import { connect } from "../kubernetes/connection.ts";
import { mergeKubeconfig, type Kubeconfig } from "../kubernetes/kubeconfig.ts";
import { print } from "../output/terminal.ts";

/** The administrator's credentials, on the terminal or beside the user's other clusters. */
export async function kubeconfig(options: { merge?: boolean; file?: string }): Promise<void> {
  const instance = currentInstance();
  if (!existsSync(instance.kubeconfig))
    throw unavailable(`berth "${instance.name}" has no cluster`, { hint: "start one with `berth up -d`" });
  const text = readFileSync(instance.kubeconfig, "utf8");
  if (!options.merge && options.file === undefined) return print(text.trimEnd());
  const { dump, load } = await import("js-yaml");
  const target = path.resolve(options.file ?? ownFile());
  const name = instance.name === "default" ? "berth" : `berth-${instance.name}`;
  const read = (content: string, file: string): Kubeconfig => {
    try {
      return (load(content) ?? {}) as Kubeconfig;
    } catch (error) {
      throw invalidArgument(`${file} is not a kubeconfig; it stays as it is`, { cause: error });
    }
  };
  const existing = existsSync(target) ? read(readFileSync(target, "utf8"), target) : {};
  const merged = mergeKubeconfig(existing, read(text, instance.kubeconfig), name);
  mkdirSync(path.dirname(target), { recursive: true, mode: 0o700 });
  const draft = `${target}.berth-new`;
  writeFileSync(draft, dump(merged, { lineWidth: -1 }), { mode: 0o600 });
  chmodSync(draft, existsSync(target) ? statSync(target).mode & 0o600 : 0o600);
  renameSync(draft, target);
  print(`context "${name}" is in ${target}, and current`);
}

/** Where kubectl itself would write. */
function ownFile(): string {
  const first = process.env["KUBECONFIG"]?.split(":").find(Boolean);
  if (first && path.resolve(first) !== currentInstance().kubeconfig) return first;
  return path.join(os.homedir(), ".kube", "config");
}

/** One line about the cluster for `berth status`. */
export async function clusterFacts(): Promise<string> {
  const cluster = await connect(currentInstance().kubeconfig);
  try {
    const [nodes, pods] = await Promise.all([
      cluster.client.of(resources.nodes).list(),
      cluster.client.of(resources.pods).list({ limit: 1 }),
    ]);
    const simulated = nodes.items.filter(({ metadata }) => metadata.labels?.["berth.dev/simulated"]).length;
    const ready = nodes.items.filter(({ status }) =>
      status?.conditions?.some((condition) => condition.type === "Ready" && condition.status === "True"),
    ).length;
    const podCount = pods.items.length + (pods.metadata.remainingItemCount ?? 0);
    const kind = simulated > 0 ? ` (${simulated} simulated)` : "";
    return `cluster ${cluster.server}: ${ready} of ${nodes.items.length} nodes ready${kind}, ${podCount} pods`;
  } finally {
    cluster.close();
  }
}
