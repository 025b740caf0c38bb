import { deleteSnapshot, listSnapshots, revertTo, takeSnapshot } from "../snapshot/index.ts";
import type { Call, Route } from "./route.ts";

const machineOf = ({ machines, args }: Call) => machines.find(args[0]!);

export const SNAPSHOT_ROUTES: readonly Route[] = [
  {
    method: "GET",
    path: "/vms/*/snapshots",
    async run(call) {
      return { json: listSnapshots(machineOf(call)) };
    },
  },
  {
    method: "POST",
    path: "/vms/*/snapshots",
    async run(call) {
      const { name, description } = await call.json<{ name: string; description?: string }>();
      return { json: await takeSnapshot(call.machines.host, machineOf(call), name, description), status: 201 };
    },
  },
  {
    method: "POST",
    path: "/vms/*/snapshots/*/revert",
    async run(call) {
      await revertTo(call.machines.host, machineOf(call), call.args[1]!);
      return { json: await call.machines.view(machineOf(call)) };
    },
  },
  {
    method: "DELETE",
    path: "/vms/*/snapshots/*",
    async run(call) {
      await deleteSnapshot(call.machines.host, machineOf(call), call.args[1]!);
      return { json: {} };
    },
  },
];
