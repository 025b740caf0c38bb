import { createReadStream, createWriteStream } from "node:fs";
import net from "node:net";
import { pipeline } from "node:stream/promises";
import type { vm } from "../../api/index.ts";
import { failedPrecondition, invalidArgument } from "../../base/index.ts";
import { readText } from "../http.ts";
import { vmPath, vms } from "./vm.ts";

const ESCAPE = 0x1d;

export async function logs(name: string, options: { tail?: string }): Promise<void> {
  const query = options.tail ? { tail: options.tail } : {};
  const { lines } = await vms().json<{ lines: string[] }>("GET", vmPath(name, "/logs"), { query });
  process.stdout.write(lines.join("\n") + (options.tail ? "\n" : ""));
}

/** The serial console, until Ctrl-] or the machine's end. */
export async function serialConsole(name: string): Promise<void> {
  const connection = await vms().hijack(vmPath(name, "/console"));
  const { stdin, stdout } = process;
  if (stdin.isTTY) stdin.setRawMode(true);
  process.stderr.write("connected; Ctrl-] ends\r\n");
  try {
    await new Promise<void>((resolve) => {
      connection.on("data", (chunk: Buffer) => void stdout.write(chunk));
      connection
        .once("close", resolve)
        .once("end", resolve)
        .once("error", () => resolve());
      stdin.on("data", (chunk: Buffer) => {
        if (chunk.includes(ESCAPE)) resolve();
        else connection.write(chunk);
      });
      stdin.once("end", resolve);
    });
  } finally {
    connection.destroy();
    stdin.pause();
    if (stdin.isTTY) stdin.setRawMode(false);
  }
}

export async function exec(
  name: string,
  command: readonly string[],
  options: { interactive?: boolean; env?: string[] },
): Promise<void> {
  const request: vm.VmExecRequest = {
    args: command,
    ...(options.env ? { env: options.env } : {}),
    ...(options.interactive ? { input: await readText(process.stdin) } : {}),
  };
  const result = await vms().json<vm.VmExecResult>("POST", vmPath(name, "/exec"), { json: request });
  process.stdout.write(Buffer.from(result.stdout, "base64"));
  process.stderr.write(Buffer.from(result.stderr, "base64"));
  if (result.truncated) process.stderr.write("berth: the agent cut the output\n");
  process.exitCode = result.code;
}

/** Leads a port of the loopback to the screen's socket, which only root may open. */
export async function screen(name: string, options: { port?: string }): Promise<void> {
  const port = Number(options.port ?? 0);
  if (!Number.isInteger(port) || port < 0 || port > 65_535) throw invalidArgument(`${options.port} is no port`);
  const { vncSocket } = await vms().json<vm.VmView>("GET", vmPath(name));
  if (!vncSocket)
    throw failedPrecondition(`${name} has no screen, or does not run`, { hint: "machines get one by --vnc" });
  const server = net.createServer((client) => {
    const screen = net.connect(vncSocket);
    client.pipe(screen).pipe(client);
    client.on("error", () => screen.destroy());
    screen.on("error", () => client.destroy());
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject).listen(port, "127.0.0.1", resolve);
  });
  process.stdout.write(`vnc://127.0.0.1:${(server.address() as net.AddressInfo).port}\n`);
  await new Promise((resolve) => server.once("close", resolve));
}

/** OpenSSH's client with berth's own key; the exit code is its. */
export async function ssh(name: string, command: readonly string[]): Promise<void> {
  const login = await vms().json<{ user: string; keyFile: string; address: string }>("GET", vmPath(name, "/login"));
  if (!login.address) throw failedPrecondition(`${name} has no address: it has not run yet`);
  const { spawn, reap } = await import("../../host/index.ts");
  const options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "ConnectTimeout=20"];
  const pid = spawn({
    argv: [
      "ssh",
      "-i",
      login.keyFile,
      ...options.flatMap((option) => ["-o", option]),
      `${login.user}@${login.address}`,
      ...(command.length > 0 ? ["--", ...command] : []),
    ],
    env: process.env as Record<string, string>,
    fds: new Map([
      [0, 0],
      [1, 1],
      [2, 2],
    ]),
  });
  process.exitCode = await reap(pid);
}

/** `VM:/path` on one of the two sides. */
export async function copy(source: string, target: string): Promise<void> {
  const [from, to] = [inGuest(source), inGuest(target)];
  if ((from === undefined) === (to === undefined))
    throw invalidArgument("one of the two is in a machine", { hint: "berth vm cp VM:/path FILE, or FILE VM:/path" });
  if (from) {
    const response = await vms().open("GET", vmPath(from.name, "/file"), { query: { path: from.path } });
    await pipeline(response, target === "-" ? process.stdout : createWriteStream(target));
  } else {
    const body = source === "-" ? process.stdin : createReadStream(source);
    await vms().json("PUT", vmPath(to!.name, "/file"), { query: { path: to!.path }, body });
  }
}

function inGuest(text: string): { name: string; path: string } | undefined {
  const match = /^([a-zA-Z0-9][\w.-]*):(\/.*)$/.exec(text);
  return match ? { name: match[1]!, path: match[2]! } : undefined;
}
