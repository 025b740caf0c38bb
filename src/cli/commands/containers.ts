import type { Duplex } from "node:stream";
import { invalidArgument, notFound, BerthError, hasCode, humanDuration, systemClock } from "../../base/index.ts";
import { SocketClient } from "../http.ts";
import { currentInstance } from "../instance.ts";
import { table } from "../output/table.ts";
import { print } from "../output/terminal.ts";
import { showProgress, type ProgressLine } from "../output/progress.ts";
import { demultiplex, withRawTerminal } from "../session.ts";
import { publishedPorts, toBytes, toImageReference } from "../arguments.ts";

const engine = () => new SocketClient(currentInstance().dockerSocket);

interface ContainerRow {
  readonly Id: string;
  readonly Names: string[];
  readonly Image: string;
  readonly Command: string;
  readonly Created: number;
  readonly Status: string;
  readonly Ports: ReadonlyArray<{ IP?: string; PrivatePort: number; PublicPort?: number; Type: string }>;
}

export async function ps(options: { all?: boolean; quiet?: boolean; json?: boolean }): Promise<void> {
  const rows = await engine().json<ContainerRow[]>("GET", "/containers/json", { query: { all: options.all === true } });
  if (options.json) return print(JSON.stringify(rows));
  if (options.quiet) return rows.forEach((row) => print(row.Id.slice(0, 12)));
  const nowMs = systemClock.nowMs();
  const cells = rows.map((row) => [
    row.Id.slice(0, 12),
    row.Image,
    shorten(JSON.stringify(row.Command), 22),
    `${humanDuration(nowMs - row.Created * 1000)} ago`,
    row.Status,
    row.Ports.map(portText).join(", "),
    row.Names.map((name) => name.replace(/^\//, "")).join(","),
  ]);
  print(table(["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"], cells));
}

function portText(port: ContainerRow["Ports"][number]): string {
  const inside = `${port.PrivatePort}/${port.Type}`;
  if (!port.PublicPort) return inside;
  const address = port.IP?.includes(":") ? `[${port.IP}]` : port.IP;
  return `${address}:${port.PublicPort}->${inside}`;
}

function shorten(text: string, width: number): string {
  return text.length <= width ? text : `${text.slice(0, width - 2)}…"`;
}

export interface RunFlags {
  readonly detach?: boolean;
  readonly interactive?: boolean;
  readonly tty?: boolean;
  readonly rm?: boolean;
  readonly name?: string;
  readonly env?: string[];
  readonly publish?: string[];
  readonly volume?: string[];
  readonly workdir?: string;
  readonly user?: string;
  readonly network?: string;
  readonly entrypoint?: string;
  readonly memory?: string;
  readonly cpus?: string;
  readonly init?: boolean;
  readonly restart?: string;
}

/** As `docker run`: exit code of the container; 125 when berth refused, 126 and 127 when the command could not be started. */
export async function run(image: string, command: string[], flags: RunFlags): Promise<void> {
  try {
    process.exitCode = await runContainer(image, command, flags);
  } catch (error) {
    const code = /executable file not found|no such file or directory/.test(String(error)) ? 127 : 125;
    throw Object.assign(error as Error, { exitCode: code });
  }
}

async function runContainer(image: string, command: string[], flags: RunFlags): Promise<number> {
  const client = engine();
  const { Id: id } = await createContainer(client, image, containerConfig(image, command, flags), flags.name);
  if (flags.detach) {
    await client.json("POST", `/containers/${id}/start`);
    print(id);
    return 0;
  }
  const connection = await client.hijack(`/containers/${id}/attach`, {
    query: { stream: true, stdout: true, stderr: true, stdin: flags.interactive === true },
  });
  // Asked before the start: a container with --rm may be gone right after its end.
  const exit = client.json<{ StatusCode: number }>("POST", `/containers/${id}/wait`, {
    query: { condition: flags.rm ? "removed" : "next-exit" },
  });
  exit.catch(() => {});
  try {
    await client.json("POST", `/containers/${id}/start`);
  } catch (error) {
    connection.destroy();
    await client.json("DELETE", `/containers/${id}`, { query: { force: true } }).catch(() => {});
    throw error;
  }
  forwardSignals(client, id, flags);
  await converse(connection, flags, (height, width) =>
    client.json("POST", `/containers/${id}/resize`, { query: { h: height, w: width } }),
  );
  return (await exit).StatusCode;
}

async function createContainer(client: SocketClient, image: string, config: object, name: string | undefined) {
  const create = () => client.json<{ Id: string }>("POST", "/containers/create", { query: { name }, json: config });
  try {
    return await create();
  } catch (error) {
    if (!hasCode(error, "notFound") || !/image/i.test((error as BerthError).message)) throw error;
    process.stderr.write(`Unable to find image '${image}' locally\n`);
    const { repository, tag } = toImageReference(image);
    await showProgress(client.lines<ProgressLine>("POST", "/images/create", { query: { fromImage: repository, tag } }));
    return create();
  }
}

function containerConfig(image: string, command: string[], flags: RunFlags): object {
  const { exposed, bindings } = publishedPorts(flags.publish ?? []);
  const [policy, retries] = (flags.restart ?? "no").split(":");
  return {
    Image: image,
    Cmd: command.length > 0 ? command : undefined,
    Entrypoint: flags.entrypoint === undefined ? undefined : [flags.entrypoint],
    Env: flags.env,
    WorkingDir: flags.workdir,
    User: flags.user,
    Tty: flags.tty === true,
    OpenStdin: flags.interactive === true,
    StdinOnce: flags.interactive === true && !flags.detach,
    AttachStdin: flags.interactive === true && !flags.detach,
    AttachStdout: !flags.detach,
    AttachStderr: !flags.detach,
    ExposedPorts: exposed,
    HostConfig: {
      AutoRemove: flags.rm === true,
      Binds: flags.volume,
      PortBindings: bindings,
      NetworkMode: flags.network ?? "default",
      Memory: flags.memory === undefined ? 0 : toBytes(flags.memory),
      NanoCpus: flags.cpus === undefined ? 0 : Math.round(Number(flags.cpus) * 1e9),
      Init: flags.init,
      RestartPolicy: { Name: policy, MaximumRetryCount: Number(retries ?? 0) },
    },
  };
}

function forwardSignals(client: SocketClient, id: string, flags: RunFlags): void {
  if (flags.tty) return;
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(signal, () => void client.json("POST", `/containers/${id}/kill`, { query: { signal } }).catch(() => {}));
  }
}

/** Connects this terminal with the far end until that one ends. */
async function converse(
  connection: Duplex,
  flags: { interactive?: boolean; tty?: boolean },
  resize: (height: number, width: number) => Promise<unknown>,
): Promise<void> {
  const talk = async () => {
    if (flags.interactive) process.stdin.pipe(connection);
    if (flags.tty)
      for await (const chunk of connection.iterator({ destroyOnReturn: false })) process.stdout.write(chunk as Buffer);
    else await demultiplex(connection, process.stdout, process.stderr);
    if (flags.interactive) {
      process.stdin.unpipe(connection);
      process.stdin.destroy();
    }
  };
  await (flags.tty ? withRawTerminal(talk, resize) : talk());
  connection.destroy();
}

export async function exec(
  container: string,
  command: string[],
  flags: { interactive?: boolean; tty?: boolean; env?: string[]; user?: string; workdir?: string },
): Promise<void> {
  const client = engine();
  const { Id: id } = await client.json<{ Id: string }>("POST", `/containers/${encodeURIComponent(container)}/exec`, {
    json: {
      Cmd: command,
      AttachStdin: flags.interactive === true,
      AttachStdout: true,
      AttachStderr: true,
      Tty: flags.tty === true,
      Env: flags.env,
      User: flags.user,
      WorkingDir: flags.workdir,
    },
  });
  const connection = await client.hijack(`/exec/${id}/start`, { json: { Detach: false, Tty: flags.tty === true } });
  await converse(connection, flags, (height, width) =>
    client.json("POST", `/exec/${id}/resize`, { query: { h: height, w: width } }),
  );
  process.exitCode = (await client.json<{ ExitCode: number | null }>("GET", `/exec/${id}/json`)).ExitCode ?? 0;
}

export async function logs(
  container: string | undefined,
  options: { follow?: boolean; tail?: string; timestamps?: boolean },
): Promise<void> {
  if (container === undefined)
    throw invalidArgument("which container?", { hint: "berth logs NAME, or berth logs --daemon" });
  const client = engine();
  const path = `/containers/${encodeURIComponent(container)}`;
  const { Config } = await client.json<{ Config: { Tty: boolean } }>("GET", `${path}/json`);
  const response = await client.open("GET", `${path}/logs`, {
    query: {
      stdout: true,
      stderr: true,
      follow: options.follow === true,
      tail: options.tail,
      timestamps: options.timestamps === true,
    },
  });
  if (Config.Tty) for await (const chunk of response) process.stdout.write(chunk as Buffer);
  else await demultiplex(response, process.stdout, process.stderr);
}

export async function stop(names: string[], options: { time?: string }): Promise<void> {
  await each(names, (client, path) => client.json("POST", `${path}/stop`, { query: { t: options.time } }));
}

export async function remove(names: string[], options: { force?: boolean; volumes?: boolean }): Promise<void> {
  await each(names, (client, path) =>
    client.json("DELETE", path, { query: { force: options.force === true, v: options.volumes === true } }),
  );
}

export async function stopAllContainers(): Promise<void> {
  const rows = await engine().json<ContainerRow[]>("GET", "/containers/json");
  await Promise.all(rows.map((row) => engine().json("POST", `/containers/${row.Id}/stop`)));
}

/** Every one is tried; a failure of some ends the command with their messages. */
async function each(names: string[], act: (client: SocketClient, path: string) => Promise<unknown>): Promise<void> {
  const client = engine();
  const failures: string[] = [];
  for (const name of names) {
    try {
      await act(client, `/containers/${encodeURIComponent(name)}`);
      print(name);
    } catch (error) {
      failures.push((error as Error).message);
    }
  }
  if (failures.length > 0) throw notFound(failures.join("\nberth: "));
}
