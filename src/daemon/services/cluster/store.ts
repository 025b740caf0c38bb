import path from "node:path";
import { failedPrecondition, invalidArgument, notFound } from "../../../base/index.ts";
import { backupSqliteStore, openEtcdStore, openSqliteStore, type Store } from "../../../storage/index.ts";
import type { DaemonContext } from "../../context.ts";
import type { Service } from "../../supervisor.ts";
import type { ControlHandler } from "../../control-handler.ts";
import { etcdOptions } from "./api-server-flags.ts";

/** The cluster's state: one file on this machine, or the etcd that the configuration names. */
export function storeService(context: DaemonContext): Service<Store> {
  return {
    name: "store",
    dependsOn: [],
    async start() {
      const { clock, control } = context;
      const etcd = etcdOptions(context.config.apiServer ?? {});
      const file = path.join(context.dataDir, "cluster", "state.db");
      const store = etcd ? await openEtcdStore({ ...etcd, clock }) : await openSqliteStore({ file, clock });
      control.set("store", backups(etcd ? undefined : file));
      return {
        value: store,
        stop: async () => {
          control.delete("store");
          await store.close();
        },
      };
    },
  };
}

/** `POST /store/backup?file=/absolute/path`, while everything goes on. */
function backups(file: string | undefined): ControlHandler {
  return async ({ method, path: [verb], query }) => {
    if (method !== "POST" || verb !== "backup") throw notFound("page not found");
    if (file === undefined)
      throw failedPrecondition("the cluster's state is in etcd, which makes its own backups: etcdctl snapshot save");
    const target = query.get("file") ?? "";
    if (!path.isAbsolute(target)) throw invalidArgument(`not an absolute path: "${target}"`);
    await backupSqliteStore(file, target);
    return { file: target };
  };
}
