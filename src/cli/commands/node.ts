import { notImplemented } from "../../base/index.ts";
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

export async function add({ count, vm }: { count: string; vm?: boolean }): Promise<void> {
  if (vm)
    throw notImplemented("a node can't be a virtual machine of berth's yet", {
      hint: "`berth node add` gives a node with a network, Pods and a kubelet of its own, on this machine's kernel",
    });
  const names = await client().json<string[]>("POST", "/nodes", { query: { count } });
  for (const name of names) print(name);
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
