import type { Command } from "commander";

/** The commands about berth itself. */
export function declareDaemonCommands(berth: Command): void {
  const commands = () => import("../commands/daemon.ts");

  berth
    .command("up")
    .description("start berth; in the foreground unless -d")
    .option("-d, --detach", "return when everything is ready")
    .option("-y, --yes", "install missing system packages without asking")
    .option("--without <part>", "leave out the cluster or the engine")
    .option("--pod-manifest-path <folder>", "manifests of static Pods, which the node runs without the API")
    .option("--nodes <number>", "at least so many nodes on this machine (up to 32), now and at later starts")
    .option(
      "--join <file>",
      "as a node of another berth's cluster, which has written the file (berth node add --join-file)",
    )
    .option("--simulated-nodes <number>", "nodes whose Pods run no containers, to try things at size (up to 5000)")
    .option("--simulated-stages <file>", "JSON with the times of simulated Pods' stages")
    .addHelpText(
      "after",
      "\nExamples:\n  berth up -d\n  berth --instance ci up -d --yes\n  berth --instance size up -d --without engine --simulated-nodes 1000",
    )
    .action(async (options) => (await commands()).up(options));
  berth
    .command("down")
    .description("stop the daemon; containers keep running unless --all")
    .option("--all", "stop the containers too")
    .option("--pods", "end the Pods too, each with its grace, as when the machine shuts down")
    .action(async (options) => (await commands()).down(options));
  berth
    .command("status")
    .description("say what runs; exit code 3 when nothing does")
    .option("--json", "as JSON")
    .action(async (options) => (await commands()).status(options));
  berth
    .command("reset")
    .description(
      "remove everything of this instance: containers, images, volumes, links, rules, mounts, cgroups, files",
    )
    .option("-y, --yes", "do not ask")
    .action(async (options) => (await commands()).reset(options));
  berth
    .command("env")
    .description("print the exports that point docker and kubectl at this instance")
    .addHelpText("after", '\nExample:\n  eval "$(berth env)" && docker ps')
    .action(async () => (await commands()).env());
  berth
    .command("kubeconfig")
    .description("print the administrator's kubeconfig, or merge it into your own")
    .option("--merge", "into the first file of KUBECONFIG, or ~/.kube/config, as the current context")
    .option("--file <file>", "merge into this file instead")
    .addHelpText("after", "\nExample:\n  berth kubeconfig --merge && kubectl get nodes")
    .action(async (options) => (await import("../commands/kubeconfig.ts")).kubeconfig(options));
  berth
    .command("demo")
    .description("build and run the example application, as a short story")
    .option("-y, --yes", "install what is missing without asking")
    .option("--no-open", "never open a browser")
    .option("--vm", "a third act: the same image in virtual machines (minutes where there is no hardware for them)")
    .option("--keep", "leave the demo's instance running")
    .action(async (options) => (await import("../commands/demo.ts")).demo(options));
  berth
    .command("test [filter...]")
    .description("run berth's own checks and tests")
    .option("-y, --yes", "install what is missing without asking")
    .option("--unit", "only the unit tests")
    .option("--e2e", "only the end-to-end tests")
    .action(async (filters, options) => (await import("../commands/test.ts")).test(filters, options));
  berth
    .command("version")
    .description("print versions of berth and of the daemon")
    .option("--json", "as JSON")
    .action(async (options) => (await import("../commands/version.ts")).version(options));
  berth
    .command("completion <shell>")
    .description("print a completion script for bash, zsh or fish")
    .addHelpText("after", '\nExample:\n  eval "$(berth completion bash)"')
    .action(async (shell) => (await import("../commands/completion.ts")).completion(shell, berth));
}
