import type { Command } from "commander";

/** Docker's everyday verbs, for a machine without the docker CLI. */
export function declareDockerCommands(berth: Command): void {
  const containers = () => import("../commands/containers.ts");
  const images = () => import("../commands/images.ts");
  const collect = (value: string, all: string[] = []) => [...all, value];

  berth
    .command("build <context>")
    .description("build an image from a Dockerfile")
    .option("-t, --tag <name>", "name it (may be repeated)", collect)
    .option("-f, --file <dockerfile>", "path of the Dockerfile below the context")
    .option("--target <stage>", "stop at this stage")
    .option("--build-arg <name=value>", "set an ARG (may be repeated)", collect)
    .option(
      "--cache-from <cache>",
      "use a cache: type=registry,ref=NAME or type=local,src=FOLDER (may be repeated)",
      collect,
    )
    .option(
      "--cache-to <cache>",
      "leave the cache: type=inline, type=registry,ref=NAME or type=local,dest=FOLDER, mode=min|max",
      collect,
    )
    .option("--no-cache", "run every step anew")
    .option("--pull", "look for a newer base image")
    .option("-q, --quiet", "print only the image's id")
    .addHelpText("after", "\nExample:\n  berth build -t app:1 .")
    .action(async (context, options) => (await images()).build(context, options));
  berth
    .command("run <image> [command...]")
    .description("run a command in a new container")
    .passThroughOptions()
    .option("-d, --detach", "print the id and return")
    .option("-i, --interactive", "pass input on")
    .option("-t, --tty", "with a terminal")
    .option("--rm", "remove the container when it ends")
    .option("--name <name>", "name it")
    .option("-e, --env <name=value>", "environment (may be repeated)", collect)
    .option("-p, --publish <[address:][port:]port>", "publish a port (may be repeated)", collect)
    .option("-v, --volume <source:target[:ro]>", "mount a folder or volume (may be repeated)", collect)
    .option("-w, --workdir <folder>", "start in this folder")
    .option("-u, --user <user>", "run as this user")
    .option("--network <network>", "attach to this network")
    .option("--entrypoint <program>", "instead of the image's")
    .option("-m, --memory <bytes>", "limit memory (512m, 1g)")
    .option("--cpus <number>", "limit processor time (1.5)")
    .option("--init", "run an init that reaps and forwards signals")
    .option("--restart <policy>", "no, always, unless-stopped, on-failure[:n]")
    .addHelpText(
      "after",
      "\nExamples:\n  berth run --rm busybox echo hello\n  berth run -d --name web -p 8080:80 nginx",
    )
    .action(async (image, command, options) => (await containers()).run(image, command, options));
  berth
    .command("ps")
    .description("list containers")
    .option("-a, --all", "ended ones too")
    .option("-q, --quiet", "only ids")
    .option("--json", "as JSON")
    .action(async (options) => (await containers()).ps(options));
  berth
    .command("logs [container]")
    .description("print a container's or a Pod's (pod/NAME) output, or with --daemon berth's own log")
    .option("-f, --follow", "go on as more comes")
    .option("-n, --tail <lines>", "only the last lines")
    .option("-t, --timestamps", "with the time of each line")
    .option("--daemon", "the daemon's log")
    .option("--namespace <name>", "of a Pod")
    .option("-c, --container <name>", "of a Pod")
    .option("-p, --previous", "of a Pod's container before its restart")
    .action(async (container: string | undefined, options) => {
      const pod = /^(?:pods?|po)\/(.+)$/.exec(container ?? "");
      if (pod) return (await import("../commands/pod-logs.ts")).podLogs(pod[1]!, options);
      if (options.daemon) return (await import("../commands/daemon.ts")).daemonLogs(options);
      return (await containers()).logs(container, options);
    });
  berth
    .command("exec <container> <command...>")
    .description("run a command in a running container")
    .passThroughOptions()
    .option("-i, --interactive", "pass input on")
    .option("-t, --tty", "with a terminal")
    .option("-e, --env <name=value>", "environment (may be repeated)", collect)
    .option("-u, --user <user>", "run as this user")
    .option("-w, --workdir <folder>", "start in this folder")
    .action(async (container, command, options) => (await containers()).exec(container, command, options));
  berth
    .command("stop <container...>")
    .description("stop containers")
    .option("-t, --time <seconds>", "how long to wait before killing")
    .action(async (names, options) => (await containers()).stop(names, options));
  berth
    .command("rm <container...>")
    .description("remove containers")
    .option("-f, --force", "running ones too")
    .option("-v, --volumes", "with their anonymous volumes")
    .action(async (names, options) => (await containers()).remove(names, options));
  berth
    .command("images")
    .description("list images")
    .option("-q, --quiet", "only ids")
    .option("--json", "as JSON")
    .action(async (options) => (await images()).list(options));
  berth
    .command("pull <image>")
    .description("fetch an image from a registry")
    .option("-q, --quiet", "no progress")
    .action(async (name, options) => (await images()).pull(name, options));
  berth
    .command("push <image>")
    .description("send an image to a registry")
    .option("-q, --quiet", "no progress")
    .action(async (name, options) => (await images()).push(name, options));
  berth
    .command("tag <image> <name>")
    .description("give an image another name")
    .action(async (image, name) => (await images()).tag(image, name));
  const image = berth.command("image").description("images without a registry");
  image
    .command("bootstrap <name>")
    .description("make a base image (busybox, debian, python:3.9-slim) from the operating system's own packages")
    .action(async (name) => (await images()).bootstrap(name));
}
