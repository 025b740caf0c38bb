import type { Command } from "commander";

/** Kubernetes' everyday verbs, for a machine without kubectl. */
export function declareKubernetesCommands(berth: Command): void {
  const cluster = () => import("../commands/cluster.ts");
  const collect = (value: string, all: string[] = []) => [...all, value];
  const verb = (usage: string, description: string) =>
    berth.command(usage).description(description).option("-n, --namespace <name>", "in this namespace");

  verb("get <type> [name...]", "list objects of the cluster, or show some")
    .option("-A, --all-namespaces", "of every namespace")
    .option("-l, --selector <labels>", "only with these labels (app=web)")
    .option("--field-selector <fields>", "only with these fields (status.phase=Running)")
    .option("-o, --output <format>", "wide, json, yaml or name")
    .option("--json", "as JSON")
    .option("--show-labels", "a column of labels")
    .addHelpText("after", "\nExamples:\n  berth get pods -A\n  berth get deploy,svc\n  berth get pod/web-0 -o yaml")
    .action(async (type, names, options) => (await cluster()).get(type, names, options));
  verb("describe <type> [name...]", "say everything about objects, and what happened to them")
    .addHelpText("after", "\nExample:\n  berth describe pod web-0")
    .action(async (type, names, options) => (await import("../commands/describe.ts")).describe(type, names, options));
  verb("apply", "create or change what manifests describe (server-side apply)")
    .option("-f, --filename <file>", "a file, a folder, or - for the input (may be repeated)", collect)
    .option("--dry-run", "only say what would happen")
    .option("--force", "take over fields that somebody else has set")
    .addHelpText("after", "\nExamples:\n  berth apply -f deployment.yaml\n  berth apply -f manifests/ --dry-run")
    .action(async (options) => (await cluster()).apply(options));
  verb("delete [type] [name...]", "delete objects and wait until they are gone")
    .option("-f, --filename <file>", "what a manifest names (may be repeated)", collect)
    .option("--grace-period <seconds>", "time to end; 0 kills")
    .option("--now", "one second to end")
    .option("--no-wait", "return at once")
    .addHelpText("after", "\nExamples:\n  berth delete pod web-0 --now\n  berth delete -f deployment.yaml")
    .action(async (type, names, options) => (await cluster()).remove(type, names, options));
  verb("scale <type> [name...]", "set how many replicas there are")
    .requiredOption("--replicas <number>", "this many")
    .addHelpText("after", "\nExample:\n  berth scale deployment/web --replicas 5")
    .action(async (type, names, options) => (await cluster()).scale(type, names, options));
  verb("rollout <verb> <type> [name...]", "status, history, undo, restart, pause or resume of a workload")
    .option("--to-revision <number>", "undo: to this one instead of the one before")
    .option("--timeout <seconds>", "status: give up after this")
    .addHelpText("after", "\nExamples:\n  berth rollout status deployment/web\n  berth rollout undo statefulset/db")
    .action(async (name, type, names, options) =>
      (await import("../commands/rollout.ts")).rollout(name, type, names, options),
    );
  const state = () => import("../commands/cluster-state.ts");
  const clusterState = berth.command("cluster").description("the cluster's state: back it up, restore it");
  clusterState
    .command("backup <file>")
    .description("copy the state to a file, while the cluster goes on")
    .action(async (file) => (await state()).backup(file));
  clusterState
    .command("restore <file>")
    .description("bring a state back, of a cluster that is down; what it replaces is kept beside it")
    .addHelpText("after", "\nExample:\n  berth down && berth cluster restore monday.db && berth up -d")
    .action(async (file) => (await state()).restore(file));
}
