import path from "node:path";
import { openSqliteStore, type Store } from "../../../storage/index.ts";
import type { DaemonContext } from "../../context.ts";
import type { Service } from "../../supervisor.ts";

/** The cluster's state: one file on this machine. */
export function storeService(context: DaemonContext): Service<Store> {
  return {
    name: "store",
    dependsOn: [],
    async start() {
      const store = await openSqliteStore({
        file: path.join(context.dataDir, "cluster", "state.db"),
        clock: context.clock,
      });
      return { value: store, stop: () => store.close() };
    },
  };
}
