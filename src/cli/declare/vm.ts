import type { Command } from "commander";

/** Whole virtual machines. */
export function declareVmCommands(berth: Command): void {
  const vms = () => import("../commands/vm.ts");
  const inside = () => import("../commands/vm-inside.ts");
  const copies = () => import("../commands/vm-copies.ts");
  const collect = (value: string, all: string[] = []) => [...all, value];
  const vm = berth.command("vm").description("virtual machines: whole computers with their own kernel");

  const creation = (command: Command) =>
    command
      .option("--name <name>", "name it")
      .option("--cpus <number>", "virtual processors (1)")
      .option("--max-cpus <number>", "up to so many can be added while it runs")
      .option("-m, --memory <size>", "memory, for example 2g (512m)")
      .option("--max-memory <size>", "up to so much can be given while it runs")
      .option("--disk <size>", "size of the first disk at least")
      .option("--add-disk <size>", "a further, empty disk (may be repeated)", collect)
      .option("--firmware <kind>", "kernel (berth's own), bios or uefi")
      .option("--network <network[,ip=address]>", "connect to this network (may be repeated)", collect)
      .option("-p, --publish <[address:][port:]port>", "publish a port (may be repeated)", collect)
      .option(
        "--share <folder:tag[:ro]>",
        "share a folder, mounted by `mount -t virtiofs TAG /where` (may be repeated)",
        collect,
      )
      .option("--user-data <file>", "cloud-init's user-data")
      .option("--user <name>", "the login that cloud-init makes", "berth")
      .option("--ssh-key <file>", "a public key that may log in, beside berth's own (may be repeated)", collect)
      .option("--hostname <name>", "the guest's name, unless it is the machine's")
      .option("--cdrom <file>", "a file in the CD-ROM drive")
      .option("--vnc", "with a screen, on a unix socket (see berth vm vnc)")
      .option("--vnc-password <text>", "the screen asks for it; at most 8 characters")
      .option("--sha256 <hex>", "checksum of an image from the network")
      .option("--full", "a clone with disks of its own")
      .option("--cpu-limit <number>", "limit processor time (1.5)")
      .option("--autostart", "start it with the daemon")
      .option("--yes", "install what is missing without asking");
  const sources =
    "\nA machine is made from: a name of `berth vm images`; oci:IMAGE (an OCI image's file system and program); vm:NAME or vm:NAME@SNAPSHOT (a clone);" +
    "\nthe path of a disk image (raw, qcow2, VMDK, VDI, VHD) or an ISO; an URL of one with --sha256.\n";

  creation(vm.command("create <source> [command...]"))
    .description("make a machine, and leave it off")
    .addHelpText(
      "after",
      `${sources}\nExamples:\n  berth vm create debian --name db --memory 1g\n  berth vm create ./disk.vmdk --firmware uefi`,
    )
    .action(async (source, command, options) => (await vms()).create(source, command, options));
  creation(vm.command("run <source> [command...]"))
    .description("make a machine and start it")
    .option("--wait", "until its agent answers")
    .addHelpText(
      "after",
      `${sources}\nExamples:\n  berth vm run debian --name web -p 8080:80 --wait\n  berth vm run oci:my-app:1 --name app\n  berth vm run vm:web --name web2`,
    )
    .action(async (source, command, options) => (await vms()).run(source, command, options));
  vm.command("start <vm...>")
    .description("start machines; a saved one goes on from where it was")
    .option("--wait", "until their agents answer")
    .action(async (names, options) => (await vms()).start(names, options));
  for (const [verb, what] of [
    ["stop", "shut machines down"],
    ["restart", "shut machines down and start them again"],
  ] as const)
    vm.command(`${verb} <vm...>`)
      .description(what)
      .option("-t, --time <seconds>", "how long to wait before pulling the plug", "60")
      .action(async (names, options) => (await vms()).stop(verb, names, options));
  for (const [verb, what] of [
    ["pause", "halt machines where they are"],
    ["resume", "let paused machines go on"],
    ["save", "write machines' memory to disk and end them; start goes on from there"],
  ] as const)
    vm.command(`${verb} <vm...>`)
      .description(what)
      .action(async (names) => (await vms()).simple(verb, names));
  vm.command("rm <vm...>")
    .description("delete machines with their disks and snapshots (backups stay)")
    .option("-f, --force", "running ones too")
    .action(async (names, options) => (await vms()).remove(names, options));
  vm.command("ls")
    .description("list machines")
    .option("-q, --quiet", "only names")
    .option("--json", "as JSON")
    .action(async (options) => (await vms()).list(options));
  vm.command("inspect <vm...>")
    .description("everything about machines, as JSON")
    .action(async (names) => (await vms()).inspect(names));
  vm.command("rename <vm> <name>")
    .description("give a machine another name")
    .action(async (name, other) => (await vms()).rename(name, other));
  vm.command("resize <vm>")
    .description("change a machine's size, at once where it runs")
    .option("--cpus <number>", "virtual processors")
    .option("-m, --memory <size>", "memory")
    .option("--disk <size>", "size of the first disk; it only grows")
    .option("--cpu-limit <number>", "limit processor time (0: no limit)")
    .option("--read-rate <size>", "limit reading from disks, per second")
    .option("--write-rate <size>", "limit writing to disks, per second")
    .option("--iops <number>", "limit operations on disks, per second")
    .addHelpText("after", "\nExample:\n  berth vm resize web --cpus 2 --memory 1g --disk 20g")
    .action(async (name, options) => (await vms()).resize(name, options));
  vm.command("stats [vm...]")
    .description("what machines use, and how the host bears it")
    .option("--json", "as JSON")
    .action(async (names, options) => (await vms()).stats(names, options));
  vm.command("advice [vm...]")
    .description("which machines are too large or too small, lack a backup, or suffer from the host, with the figures")
    .option("--json", "as JSON")
    .action(async (names, options) => (await vms()).advice(names, options));
  vm.command("vnc <vm>")
    .description("lead a port of this host to a machine's screen, until Ctrl-C")
    .option("--port <number>", "which one; any free one by default")
    .action(async (name, options) => (await inside()).screen(name, options));
  vm.command("logs <vm>")
    .description("what a machine's console said")
    .option("-n, --tail <lines>", "only the last lines")
    .action(async (name, options) => (await inside()).logs(name, options));
  vm.command("console <vm>")
    .description("connect to a machine's serial console (Ctrl-] ends)")
    .action(async (name) => (await inside()).serialConsole(name));
  vm.command("exec <vm> <command...>")
    .description("run a program in a machine by its agent")
    .passThroughOptions()
    .option("-i, --interactive", "pass input on")
    .option("-e, --env <name=value>", "environment (may be repeated)", collect)
    .action(async (name, command, options) => (await inside()).exec(name, plain(command), options));
  vm.command("ssh <vm> [command...]")
    .description("log in with berth's own key")
    .passThroughOptions()
    .action(async (name, command) => (await inside()).ssh(name, plain(command)));
  vm.command("cp <source> <target>")
    .description("copy a file: VM:/path FILE, or FILE VM:/path")
    .action(async (source, target) => (await inside()).copy(source, target));
  vm.command("export <vm> <file>")
    .description("write a stopped machine's disk, or as .ova all of it, into a file")
    .option("--format <format>", "qcow2, raw, vmdk, vdi or ova; by default the file's ending")
    .action(async (name, file, options) => (await copies()).exportVm(name, file, options));
  vm.command("images [name]")
    .description("list images by name, or make the one that is named")
    .option("--json", "as JSON")
    .action(async (name, options) => (await copies()).images(name, options));
  const snapshot = vm.command("snapshot").description("states of a machine to which it can go back");
  snapshot
    .command("create <vm> <name>")
    .description("take a snapshot, with memory when the machine runs")
    .option("--description <text>", "what for")
    .action(async (name, snap, options) => (await copies()).takeSnapshot(name, snap, options));
  snapshot
    .command("ls <vm>")
    .description("the tree of a machine's snapshots")
    .option("--json", "as JSON")
    .action(async (name, options) => (await copies()).listSnapshots(name, options));
  snapshot
    .command("revert <vm> <name>")
    .description("put a machine back to a snapshot")
    .action(async (name, snap) => (await copies()).revert(name, snap));
  snapshot
    .command("rm <vm> <name>")
    .description("delete a snapshot")
    .action(async (name, snap) => (await copies()).deleteSnapshot(name, snap));
  const backup = vm.command("backup").description("copies of machines' disks, apart from the machines");
  backup
    .command("create <vm>")
    .description("back a machine up; only what changed since the last time")
    .option("--full", "everything")
    .action(async (name, options) => (await copies()).backUp(name, options));
  backup
    .command("ls [vm]")
    .description("list backups")
    .option("--json", "as JSON")
    .action(async (name, options) => (await copies()).listBackups(name, options));
  backup
    .command("verify <backup>")
    .description("look at checksums, and restore for a test")
    .action(async (id) => (await copies()).verifyBackup(id));
  backup
    .command("restore <backup>")
    .description("make a machine from a backup")
    .option("--name <name>", "name it otherwise than the one that was backed up")
    .action(async (id, options) => (await copies()).restoreBackup(id, options));
  backup
    .command("rm <backup>")
    .description("delete a backup")
    .action(async (id) => (await copies()).deleteBackup(id));
  backup
    .command("schedule <vm>")
    .description("back a machine up regularly")
    .option("--every <duration>", "10m, 6h, 1d")
    .option("--keep <number>", "keep so many", "7")
    .option("--off", "no more")
    .action(async (name, options) => (await copies()).schedule(name, options));
}

/** A command after `--`, by which it is told from options. */
function plain(command: readonly string[]): readonly string[] {
  return command[0] === "--" ? command.slice(1) : command;
}
