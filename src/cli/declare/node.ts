import type { Command } from "commander";

/** The nodes of this instance, all on this machine. */
export function declareNodeCommands(berth: Command): void {
  const commands = () => import("../commands/node.ts");
  const node = berth.command("node").description("the cluster's nodes on this machine: add, remove, switch off and on");
  node
    .command("ls")
    .description("list them")
    .option("--json", "as JSON")
    .action(async (options) => (await commands()).list(options));
  node
    .command("add")
    .description("add a node, with a network, Pods and a kubelet of its own")
    .option("--count <number>", "so many", "1")
    .option("--vm", "a virtual machine as the node, with a kernel of its own")
    .option("--cpus <number>", "of the machine", "2")
    .option("-m, --memory <size>", "of the machine", "2g")
    .option("--join-file <file>", "a node that another berth becomes: `berth up --join FILE`")
    .option("--yes", "install what machines need without asking")
    .addHelpText("after", "\nExamples:\n  berth node add\n  berth node add --vm --cpus 2 --memory 4g")
    .action(async (options) => (await commands()).add(options));
  node
    .command("remove <name...>")
    .description("throw a node away with its Pods; nothing is drained")
    .action(async (names) => (await commands()).remove(names));
  node
    .command("stop <name...>")
    .description("cut a node's power: its kubelet and containers end at once")
    .option(
      "--silent",
      "do not tell the cluster, which then finds out by the node's silence (50 s, or what nodeLeaseDurationSeconds says)",
    )
    .addHelpText("after", "\nExample:\n  berth node stop berth-default-2 && kubectl get pods -o wide --watch")
    .action(async (names, options) => (await commands()).stop(names, options));
  node
    .command("start <name...>")
    .description("switch a node on again")
    .action(async (names) => (await commands()).start(names));
}
