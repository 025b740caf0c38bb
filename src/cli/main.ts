import { Command } from "commander";
import { BerthError, messageOf } from "../base/index.ts";
import { declareDaemonCommands } from "./declare/daemon.ts";
import { declareDockerCommands } from "./declare/docker.ts";
import { declareKubernetesCommands } from "./declare/kubernetes.ts";
import { declareVmCommands } from "./declare/vm.ts";
import { declareNodeCommands } from "./declare/node.ts";

/** Declares every command; what a command does is loaded only when it is called. */
function program(): Command {
  const berth = new Command("berth")
    .description("VMs, containers and Kubernetes on your own machine, with your own docker and kubectl")
    .option("--instance <name>", "which berth: several live side by side on one machine (BERTH_INSTANCE)")
    .hook("preAction", (command) => {
      const { instance } = command.opts<{ instance?: string }>();
      if (instance !== undefined) process.env["BERTH_INSTANCE"] = instance;
    })
    .showHelpAfterError("(berth --help lists the commands)")
    .enablePositionalOptions();
  declareDaemonCommands(berth);
  declareDockerCommands(berth);
  declareKubernetesCommands(berth);
  declareVmCommands(berth);
  declareNodeCommands(berth);
  return berth;
}

process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  // The reader of a pipe has seen enough.
  if (error.code === "EPIPE") process.exit(0);
});

try {
  await program().parseAsync();
} catch (error) {
  process.stderr.write(`berth: ${messageOf(error)}\n`);
  if (error instanceof BerthError && error.hint) process.stderr.write(`  ${error.hint}\n`);
  if (process.env["BERTH_LOG_LEVEL"] === "debug") console.error(error);
  process.exitCode = (error as { exitCode?: number }).exitCode ?? 1;
}
