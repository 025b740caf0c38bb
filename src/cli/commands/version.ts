import { readFileSync } from "node:fs";
import path from "node:path";
import { daemonStatus, root } from "../daemon-process.ts";
import { currentInstance } from "../instance.ts";
import { print } from "../output/terminal.ts";

export async function version(options: { json?: boolean }): Promise<void> {
  const { version: own } = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8")) as { version: string };
  const daemon = await daemonStatus(currentInstance());
  const facts = { client: own, node: process.version, daemon: daemon?.version };
  if (options.json) return print(JSON.stringify(facts));
  print(`berth ${own} (node ${process.version})`);
  print(daemon ? `daemon ${daemon.version}` : "daemon not running");
}
