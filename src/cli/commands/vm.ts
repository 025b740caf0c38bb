import { readFileSync } from "node:fs";
import path from "node:path";
import type { vm } from "../../api/index.ts";
import { humanDuration, invalidArgument, notFound, randomSuffix, systemClock, systemRandom } from "../../base/index.ts";
import { publishedPorts, toBytes } from "../arguments.ts";
import { wait } from "../daemon-process.ts";
import { SocketClient } from "../http.ts";
import { currentInstance } from "../instance.ts";
import { size, table } from "../output/table.ts";
import { print } from "../output/terminal.ts";
import { ensurePackages } from "../packages.ts";

export const PREFIX = "/berth/v1";
export const vms = () => new SocketClient(path.join(currentInstance().runtimeDir, "vm.sock"));
export const vmPath = (name: string, rest = "") => `${PREFIX}/vms/${encodeURIComponent(name)}${rest}`;

export interface CreateFlags {
  readonly name?: string;
  readonly cpus?: string;
  readonly maxCpus?: string;
  readonly memory?: string;
  readonly maxMemory?: string;
  readonly disk?: string;
  readonly addDisk?: string[];
  readonly firmware?: string;
  readonly network?: string[];
  readonly publish?: string[];
  readonly share?: string[];
  readonly userData?: string;
  readonly user?: string;
  readonly sshKey?: string[];
  readonly hostname?: string;
  readonly cdrom?: string;
  readonly vnc?: boolean;
  readonly vncPassword?: string;
  readonly sha256?: string;
  readonly full?: boolean;
  readonly cpuLimit?: string;
  readonly autostart?: boolean;
  readonly wait?: boolean;
  readonly yes?: boolean;
}

export async function create(source: string, command: readonly string[], flags: CreateFlags): Promise<void> {
  print((await make(source, command, flags)).name);
}

export async function run(source: string, command: readonly string[], flags: CreateFlags): Promise<void> {
  const { name } = await make(source, command, flags);
  await start([name], flags);
}

async function make(source: string, command: readonly string[], flags: CreateFlags): Promise<vm.VmView> {
  await ensureVmPackages(flags);
  return vms().json<vm.VmView>("POST", `${PREFIX}/vms`, { json: createRequest(source, command, flags) });
}

/** What machines need of the operating system, asked for by whatever command comes first that needs it. */
export async function ensureVmPackages(options: { yes?: boolean } = {}): Promise<void> {
  if (!process.env["BERTH_NO_INSTALL"]) await ensurePackages(["vm"], options);
}

/** Flags as the API has them. */
export function createRequest(source: string, command: readonly string[], flags: CreateFlags): vm.CreateVmRequest {
  const file = (name: string) => readFileSync(name, "utf8");
  const looksLikeFile = /^\.{0,2}\//.test(source) || /\.(qcow2|img|raw|vmdk|vdi|vhdx?|iso)$/i.test(source);
  return {
    name: flags.name ?? `vm-${randomSuffix(systemRandom, 5)}`,
    source: looksLikeFile && !/^https?:/.test(source) ? path.resolve(source) : source,
    ...(flags.cpus ? { cpus: count(flags.cpus) } : {}),
    ...(flags.maxCpus ? { maxCpus: count(flags.maxCpus) } : {}),
    ...(flags.memory ? { memoryBytes: toBytes(flags.memory) } : {}),
    ...(flags.maxMemory ? { maxMemoryBytes: toBytes(flags.maxMemory) } : {}),
    ...(flags.disk ? { diskBytes: toBytes(flags.disk) } : {}),
    ...(flags.addDisk ? { extraDisks: flags.addDisk.map(toBytes) } : {}),
    ...(flags.firmware ? { firmware: flags.firmware as vm.VmFirmware } : {}),
    ...(flags.network ? { networks: flags.network.map(networkOf) } : {}),
    ...(flags.publish ? { ports: portsOf(flags.publish) } : {}),
    ...(flags.share ? { shares: flags.share.map(shareOf) } : {}),
    ...(flags.userData ? { userData: file(flags.userData) } : {}),
    ...(flags.user ? { user: flags.user } : {}),
    ...(flags.sshKey ? { sshKeys: flags.sshKey.map((name) => file(name).trim()) } : {}),
    ...(flags.hostname ? { hostname: flags.hostname } : {}),
    ...(flags.cdrom ? { cdrom: path.resolve(flags.cdrom) } : {}),
    ...(flags.vnc ? { vnc: true } : {}),
    ...(flags.vncPassword ? { vncPassword: flags.vncPassword } : {}),
    ...(flags.sha256 ? { sha256: flags.sha256 } : {}),
    ...(flags.full ? { full: true } : {}),
    ...(flags.cpuLimit ? { limits: { cpuMillis: Math.round(Number(flags.cpuLimit) * 1000) } } : {}),
    ...(flags.autostart ? { autostart: true } : {}),
    ...(command.length > 0 ? { args: command } : {}),
  };
}

function count(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0) throw invalidArgument(`${text} is no whole number`);
  return value;
}

function networkOf(text: string) {
  const [network = "", ...options] = text.split(",");
  const address = options.find((option) => option.startsWith("ip="))?.slice("ip=".length);
  return { network, ...(address ? { ipv4Address: address } : {}) };
}

function shareOf(text: string): vm.VmShare {
  const [source = "", tag = "", mode] = text.split(":");
  if (!source || !tag || (mode !== undefined && mode !== "ro" && mode !== "rw"))
    throw invalidArgument(`invalid share "${text}"`, { hint: "FOLDER:TAG or FOLDER:TAG:ro" });
  return { source: path.resolve(source), tag, ...(mode === "ro" ? { readonly: true } : {}) };
}

function portsOf(values: readonly string[]): vm.VmPort[] {
  return Object.entries(publishedPorts(values).bindings).flatMap(([inside, bindings]) => {
    const [port, protocol] = inside.split("/");
    return bindings.map(({ HostIp, HostPort }) => ({
      guestPort: Number(port),
      protocol: protocol as "tcp" | "udp",
      ...(HostIp ? { hostAddress: HostIp } : {}),
      ...(HostPort ? { hostPort: Number(HostPort) } : {}),
    }));
  });
}

export async function start(names: readonly string[], options: { wait?: boolean }): Promise<void> {
  await ensureVmPackages();
  for (const name of names) {
    await vms().json("POST", vmPath(name, "/start"));
    if (options.wait) await vms().json("POST", vmPath(name, "/wait"));
    print(name);
  }
}

export async function stop(
  verb: "stop" | "restart",
  names: readonly string[],
  options: { time: string },
): Promise<void> {
  const timeoutMs = Number(options.time) * 1000;
  if (verb === "restart") await ensureVmPackages();
  for (const name of names) {
    await vms().json("POST", vmPath(name, `/${verb}`), { query: { timeoutMs } });
    print(name);
  }
}

export async function simple(verb: "pause" | "resume" | "save", names: readonly string[]): Promise<void> {
  for (const name of names) {
    await vms().json("POST", vmPath(name, `/${verb}`));
    print(name);
  }
}

export async function remove(names: readonly string[], options: { force?: boolean }): Promise<void> {
  for (const name of names) {
    await vms().json("DELETE", vmPath(name), { query: { force: options.force === true } });
    print(name);
  }
}

export async function list(options: { quiet?: boolean; json?: boolean }): Promise<void> {
  const all = await vms().json<vm.VmView[]>("GET", `${PREFIX}/vms`);
  if (options.json) return print(JSON.stringify(all));
  if (options.quiet) return all.forEach(({ name }) => print(name));
  const nowMs = systemClock.nowMs();
  const rows = all.map((machine) => [
    machine.name,
    machine.state,
    String(machine.spec.cpus),
    size(machine.spec.memoryBytes),
    machine.addresses[0]?.ipv4Address ?? "",
    portsText(machine),
    machine.startedMs && machine.state === "running" ? `${humanDuration(nowMs - machine.startedMs)}` : "",
    machine.lastBackupMs ? `${humanDuration(nowMs - machine.lastBackupMs)} ago` : "never",
    machine.source,
  ]);
  print(table(["NAME", "STATE", "CPUS", "MEMORY", "ADDRESS", "PORTS", "UP", "BACKUP", "SOURCE"], rows));
  for (const machine of all) for (const { message } of machine.advice) print(`! ${machine.name}: ${message}`);
}

/** One entry for a port of both address families. */
function portsText({ ports }: vm.VmView): string {
  return [...new Set(ports.map((port) => `${port.hostPort}->${port.guestPort}/${port.protocol}`))].join(", ");
}

export async function inspect(names: readonly string[]): Promise<void> {
  const views = await Promise.all(names.map((name) => vms().json<vm.VmView>("GET", vmPath(name))));
  print(JSON.stringify(views, null, 2));
}

export async function rename(name: string, other: string): Promise<void> {
  await vms().json("POST", vmPath(name, "/rename"), { json: { name: other } });
  print(other);
}

export interface ResizeFlags {
  readonly cpus?: string;
  readonly memory?: string;
  readonly disk?: string;
  readonly cpuLimit?: string;
  readonly readRate?: string;
  readonly writeRate?: string;
  readonly iops?: string;
}

export async function resize(name: string, flags: ResizeFlags): Promise<void> {
  const limits = {
    ...(flags.cpuLimit ? { cpuMillis: Math.round(Number(flags.cpuLimit) * 1000) } : {}),
    ...(flags.readRate ? { readBytesPerSecond: toBytes(flags.readRate) } : {}),
    ...(flags.writeRate ? { writeBytesPerSecond: toBytes(flags.writeRate) } : {}),
    ...(flags.iops ? { iops: count(flags.iops) } : {}),
  };
  const wanted: vm.VmResize = {
    ...(flags.cpus ? { cpus: count(flags.cpus) } : {}),
    ...(flags.memory ? { memoryBytes: toBytes(flags.memory) } : {}),
    ...(flags.disk ? { diskBytes: toBytes(flags.disk) } : {}),
    ...(Object.keys(limits).length > 0 ? { limits } : {}),
  };
  if (Object.keys(wanted).length === 0) throw invalidArgument("nothing to change", { hint: "berth vm resize --help" });
  await vms().json("POST", vmPath(name, "/resize"), { json: wanted });
  print(name);
}

export async function stats(names: readonly string[], options: { json?: boolean }): Promise<void> {
  const client = vms();
  const all = await client.json<vm.VmView[]>("GET", `${PREFIX}/vms`);
  const wanted = names.length > 0 ? names : all.filter(({ state }) => state === "running").map(({ name }) => name);
  const look = () =>
    Promise.all(
      wanted.map(async (name) => ({ name, ...(await client.json<vm.VmStats>("GET", vmPath(name, "/stats"))) })),
    );
  await look();
  await wait(SAMPLE_MS);
  const found = await look();
  if (options.json) return print(JSON.stringify(found));
  const percent = (value: number | undefined) => (value === undefined ? "--" : `${value.toFixed(1)}%`);
  const rows = found.map((one) => [
    one.name,
    percent(one.cpuPercent),
    percent(one.stealPercent),
    `${one.memoryUsedBytes === undefined ? "--" : size(one.memoryUsedBytes)} / ${size(one.memoryGivenBytes)}`,
    size(one.hostMemoryBytes),
    `${size(one.readBytes)} / ${size(one.writeBytes)}`,
    `${size(one.rxBytes)} / ${size(one.txBytes)}`,
  ]);
  print(table(["NAME", "CPU", "STEAL", "MEMORY USED / GIVEN", "ON HOST", "DISK READ / WRITTEN", "NET RX / TX"], rows));
  const { hostPressure = {} } = found[0] ?? {};
  if (found.length > 0)
    print(
      `host pressure: cpu ${percent(hostPressure.cpu)}, memory ${percent(hostPressure.memory)}, io ${percent(hostPressure.io)}`,
    );
}

/** Two looks at machines that run: rates are told from the time between. */
export async function advice(names: readonly string[], options: { json?: boolean }): Promise<void> {
  const look = () => vms().json<vm.VmView[]>("GET", `${PREFIX}/vms`);
  await look();
  await wait(SAMPLE_MS);
  const all = (await look()).filter(({ name }) => names.length === 0 || names.includes(name));
  const unknown = names.find((name) => !all.some((machine) => machine.name === name));
  if (unknown !== undefined) throw notFound(`there is no machine ${unknown}`, { hint: "berth vm ls lists them" });
  if (options.json) return print(JSON.stringify(all.map(({ name, advice }) => ({ name, advice }))));
  const rows = all.flatMap((machine) => machine.advice.map(({ kind, message }) => [machine.name, kind, message]));
  print(rows.length > 0 ? table(["NAME", "ADVICE", "WHY, AND WHAT TO DO"], rows) : "nothing to advise");
}

const SAMPLE_MS = 500;
