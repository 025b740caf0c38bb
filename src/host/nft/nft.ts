import { spawn } from "node:child_process";
import { internal, unavailable } from "../../base/index.ts";
import { dropTable, listTables, sendChanges } from "./nfnetlink.ts";
import type { NftChange, NftFamily, NftHost } from "./types.ts";

const MAX_MESSAGE_BYTES = 4096;

export class LinuxNft implements NftHost {
  load(ruleset: string, signal?: AbortSignal, netns?: string): Promise<void> {
    const [program, ...args] = [...(netns === undefined ? [] : ["nsenter", `--net=${netns}`]), "nft", "-f", "-"];
    return new Promise((resolve, reject) => {
      const child = spawn(program!, args, { stdio: ["pipe", "ignore", "pipe"], signal });
      let message = "";
      child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
        message = (message + chunk).slice(0, MAX_MESSAGE_BYTES);
      });
      child.on("error", (error) =>
        reject(unavailable("cannot run nft", { cause: error, hint: "install the package nftables" })),
      );
      child.on("close", (code) => {
        if (code === 0) resolve();
        else reject(internal(`nft refused the ruleset: ${message.trim()}`, { details: { ruleset } }));
      });
      child.stdin.on("error", () => {}); // told by the exit status
      child.stdin.end(ruleset);
    });
  }

  change(family: NftFamily, table: string, changes: readonly NftChange[]): void {
    const some = changes.filter((change) => change.elements.length > 0);
    if (some.length > 0) sendChanges(family, table, some);
  }

  tables(family: NftFamily): string[] {
    return listTables(family);
  }

  deleteTable(family: NftFamily, table: string): void {
    dropTable(family, table);
  }
}
