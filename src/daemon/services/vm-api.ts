import { chmodSync, existsSync, readdirSync } from "node:fs";
import type { Server } from "node:http";
import path from "node:path";
import { messageOf } from "../../base/index.ts";
import type { Engine } from "../../engine/index.ts";
import type { DaemonContext } from "../context.ts";
import { listenUnix } from "../listen.ts";
import type { Service } from "../supervisor.ts";

const { createServer } = process.getBuiltinModule("node:http");

export type VmRooms = Awaited<ReturnType<typeof openRooms>>;

/** The rooms of virtual machines, opened when first asked for. */
export interface OpenVms {
  open(): Promise<VmRooms>;
}

/** The API for virtual machines on `vm.sock`. Its code is loaded with the first call, or at once when there are machines: who uses none pays nothing. */
export function vmApiService(context: DaemonContext, engine: Service<Engine>): Service<OpenVms> {
  return {
    name: "vm-api",
    dependsOn: [engine],
    async start(use) {
      const log = context.log.with({ service: "vm-api" });
      const ctx = { ...context, log };
      let rooms: Promise<VmRooms> | undefined;
      const open = () => {
        rooms ??= openRooms(ctx, use(engine));
        rooms.catch(() => (rooms = undefined));
        return rooms;
      };
      if (existsSync(machinesFolder(context))) await open();
      const socketPath = path.join(context.runtimeDir, "vm.sock");
      // The real server stands behind this one, so that an unused one costs no more than a socket.
      let served: Promise<Server> | undefined;
      const handler = () => {
        served ??= import("../../vm/index.ts").then(({ createVmServer }) => createVmServer(open, log));
        served.catch(() => (served = undefined));
        return served;
      };
      const refuse = (error: unknown) => log.error("the API for machines cannot be served", { error });
      const server = createServer((request, response) => {
        const fail = (error: unknown) => {
          refuse(error);
          response.writeHead(500).end(JSON.stringify({ message: messageOf(error) }));
        };
        void handler().then((vms) => vms.emit("request", request, response), fail);
      });
      server.on("upgrade", (request, socket, head) => {
        void handler().then(
          (vms) => vms.emit("upgrade", request, socket, head),
          (error: unknown) => {
            refuse(error);
            socket.destroy();
          },
        );
      });
      await listenUnix(server, socketPath);
      chmodSync(socketPath, 0o600);
      return {
        value: { open },
        async stop() {
          server.close();
          server.closeAllConnections();
          const opened = await rooms?.catch(() => undefined);
          opened?.schedule.stop();
          await opened?.machines.close();
        },
      };
    },
  };
}

async function openRooms(context: DaemonContext, engine: Engine) {
  const { Machines, Backups, BackupSchedule } = await import("../../vm/index.ts");
  const machines = await Machines.open(context, engine);
  const backups = new Backups(machines);
  await backups.clean();
  return { machines, backups, schedule: new BackupSchedule(machines, backups) };
}

/** Where machines' records stand; one folder each. */
export function machinesFolder({ dataDir }: { readonly dataDir: string }): string {
  return path.join(dataDir, "machines", "vms");
}

/** Network sandboxes of machines that may still run. */
export function machineSandboxes(context: { readonly dataDir: string }): string[] {
  const folder = machinesFolder(context);
  return existsSync(folder) ? readdirSync(folder).map((id) => `vm-${id}`) : [];
}
