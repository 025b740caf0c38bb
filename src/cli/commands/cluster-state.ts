import path from "node:path";
import { failedPrecondition, hasCode } from "../../base/index.ts";
import { restoreSqliteStore } from "../../storage/index.ts";
import { SocketClient } from "../http.ts";
import { currentInstance } from "../instance.ts";
import { print } from "../output/terminal.ts";

/** `berth cluster backup FILE`: the state as it is at this moment, while the cluster goes on. */
export async function backup(file: string): Promise<void> {
  const target = path.resolve(file);
  await new SocketClient(currentInstance().controlSocket).json("POST", "/store/backup", { query: { file: target } });
  print(target);
}

/** `berth cluster restore FILE`: brings a state back, of a cluster that is down. */
export async function restore(file: string): Promise<void> {
  const { name, dataDir, controlSocket } = currentInstance();
  if (await isUp(controlSocket))
    throw failedPrecondition(`berth "${name}" is up: a cluster's state can't be replaced under it`, {
      hint: "berth down, berth cluster restore, berth up -d",
    });
  const state = path.join(dataDir, "cluster", "state.db");
  await restoreSqliteStore(path.resolve(file), state);
  print(`${state} is restored; the one before is ${state}.before-restore`);
}

async function isUp(socket: string): Promise<boolean> {
  try {
    await new SocketClient(socket).json("GET", "/status");
    return true;
  } catch (error) {
    if (hasCode(error, "unavailable")) return false;
    throw error;
  }
}
