import { writeFileSync } from "node:fs";
import { invalidArgument } from "../../base/index.ts";
import { toBytes } from "../arguments.ts";
import { SocketClient } from "../http.ts";
import { currentInstance } from "../instance.ts";
import { table } from "../output/table.ts";
import { print } from "../output/terminal.ts";

/** What the daemon answers of a node. */
interface NodeInfo {
  readonly name: string;
  readonly state: string;
  readonly podCidr: string;
  readonly address?: string;
}

const client = () => new SocketClient(currentInstance().controlSocket);
const one = (name: string) => `/nodes/${encodeURIComponent(name)}`;

export async function list(options: { json?: boolean }): Promise<void> {
  const nodes = await client().json<NodeInfo[]>("GET", "/nodes");
  if (options.json) return print(JSON.stringify(nodes));
  const rows = nodes.map(({ name, state, podCidr, address }) => [name, state, podCidr, address ?? "(this machine)"]);
  print(table(["NAME", "STATE", "PODS", "ADDRESS"], rows));
}

interface AddFlags {
  readonly count: string;
  readonly vm?: boolean;
  readonly cpus: string;
  readonly memory: string;
  readonly joinFile?: string;
  readonly yes?: boolean;
}

export async function add({ count, vm, cpus, memory, joinFile, yes }: AddFlags): Promise<void> {
  if (joinFile !== undefined) return addJoining(joinFile);
  if (vm) await (await import("./vm.ts")).ensureVmPackages({ yes });
  const size = vm ? { cpus: countOf(cpus), memory: toBytes(memory) } : {};
  const names = await client().json<string[]>("POST", "/nodes", { query: { count, ...size } });
  for (const name of names) print(name);
}

/** A node that another berth process becomes. */
async function addJoining(file: string): Promise<void> {
  const query = { joining: 1 };
  const { join, netnsPath } = await client().json<{ join: { node: string }; netnsPath: string }>("POST", "/nodes", {
    query,
  });
  writeFileSync(file, `${JSON.stringify(join)}\n`, { mode: 0o600 });
  print(join.node);
  print(
    `start it, as another instance, in its network namespace: nsenter --net=${netnsPath} berth --instance NAME up --join ${file}`,
  );
}

function countOf(text: string): number {
  if (/^[1-9]\d?$/.test(text)) return Number(text);
  throw invalidArgument(`invalid number of processors "${text}"`);
}

export async function remove(names: readonly string[]): Promise<void> {
  for (const name of names) {
    await client().json("DELETE", one(name));
    print(name);
  }
}

export async function stop(names: readonly string[], { silent }: { silent?: boolean }): Promise<void> {
  for (const name of names) {
    await client().json("POST", `${one(name)}/stop`, { query: { silent: silent ? 1 : undefined } });
    print(name);
  }
}

export async function start(names: readonly string[]): Promise<void> {
  for (const name of names) {
    await client().json("POST", `${one(name)}/start`);
    print(name);
  }
}

/** `berth up --nodes N` of an instance that runs already: so many that there are at least N. Returns those that came. */
export async function growTo(wanted: number): Promise<string[]> {
  const missing = wanted - (await client().json<NodeInfo[]>("GET", "/nodes")).length;
  return missing > 0 ? client().json<string[]>("POST", "/nodes", { query: { count: missing } }) : [];
}
