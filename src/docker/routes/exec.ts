import type { DockerExecConfig } from "../../api/index.ts";
import { parseDetachKeys, type AttachStream, type DockerContainers } from "../../engine/index.ts";
import { empty, hijack, json, userMessage, type DockerRequest, type DockerResponse, type Route } from "../route.ts";
import { frame, serveStream } from "../stdio.ts";
import { terminalSize } from "./containers.ts";

interface ExecStart {
  readonly Detach?: boolean;
  readonly Tty?: boolean;
  readonly ConsoleSize?: number[] | null;
}

/** The exec group. */
export function execRoutes(containers: DockerContainers): Route[] {
  return [
    {
      method: "POST",
      path: "/containers/{id}/exec",
      handle: async (request) => {
        const config = await request.json<DockerExecConfig>();
        if (config.DetachKeys) parseDetachKeys(config.DetachKeys);
        return json({ Id: containers.execs.create(request.params["id"]!, config).id }, 201);
      },
    },
    { method: "POST", path: "/exec/{id}/start", handle: (request) => start(containers, request) },
    {
      method: "POST",
      path: "/exec/{id}/resize",
      handle: async (request) => {
        await containers.execs.resize(request.params["id"]!, terminalSize(request));
        return empty(200);
      },
    },
    { method: "GET", path: "/exec/{id}/json", handle: (request) => json(inspect(containers, request.params["id"]!)) },
  ];
}

async function start(containers: DockerContainers, request: DockerRequest): Promise<DockerResponse> {
  const id = request.params["id"]!;
  const options = (await request.json<ExecStart>({ optional: true })) ?? {};
  const exec = containers.execs.get(id);
  const { config } = exec;
  containers.execs.checkStartable(id);
  if (options.Detach) {
    (await containers.execs.start(id, options.ConsoleSize, true)).onData(() => {});
    return empty(200);
  }
  const tty = config.Tty ?? false;
  return hijack(
    async (connection) => {
      let live: AttachStream;
      try {
        live = await containers.execs.start(id, options.ConsoleSize);
      } catch (error) {
        // As Docker: a program that cannot be started is said in the stream, and its exit code is for inspect.
        const message = Buffer.from(`${userMessage(error)}\r\n`);
        connection.write(tty ? message : frame("stdout", message));
        return;
      }
      const serving = serveStream(
        live,
        {
          stdin: config.AttachStdin ?? false,
          stdout: config.AttachStdout ?? false,
          stderr: config.AttachStderr ?? false,
          framed: !tty,
          tty,
          detachKeys: config.DetachKeys,
        },
        connection,
      );
      // The client asks for the exit code as soon as the connection ends.
      if (!(await serving) && !connection.destroyed) await containers.execs.ended(id);
    },
    { multiplexed: !tty, apiMinor: request.apiMinor },
  );
}

function inspect(containers: DockerContainers, id: string): Record<string, unknown> {
  const exec = containers.execs.get(id);
  const { config } = exec;
  const [entrypoint = "", ...args] = config.Cmd ?? [];
  return {
    ID: exec.id,
    Running: exec.running,
    ExitCode: exec.exitCode,
    ProcessConfig: {
      tty: config.Tty ?? false,
      entrypoint,
      arguments: args,
      privileged: config.Privileged ?? false,
      ...(config.User ? { user: config.User } : {}),
    },
    OpenStdin: config.AttachStdin ?? false,
    OpenStdout: config.AttachStdout ?? false,
    OpenStderr: config.AttachStderr ?? false,
    CanRemove: !exec.running && exec.exitCode !== null,
    ContainerID: exec.containerId,
    DetachKeys: config.DetachKeys ?? "",
    Pid: exec.pid,
  };
}
