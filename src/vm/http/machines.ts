import type { vm } from "../../api/index.ts";
import { invalidArgument } from "../../base/index.ts";
import { copyFromGuest, copyToGuest, execInGuest } from "../machine/inside.ts";
import { resizeMachine } from "../machine/resize.ts";
import { exportMachine } from "../machine/export.ts";
import { ownKey } from "../machine/seed.ts";
import type { Call, Route } from "./route.ts";

const STOP_MS = 60_000;
const READY_MS = 180_000;

const machineOf = ({ machines, args }: Call) => machines.find(args[0]!);
const viewOf = async (call: Call) => ({ json: await call.machines.view(machineOf(call)) });
const milliseconds = (call: Call, name: string, otherwise: number): number => {
  const text = call.query.get(name);
  const value = text === null ? otherwise : Number(text);
  if (!Number.isFinite(value) || value < 0) throw invalidArgument(`${name} is no time: ${text}`);
  return value;
};
const filePath = (call: Call): string => {
  const found = call.query.get("path");
  if (!found?.startsWith("/")) throw invalidArgument("the file's absolute path in the guest is missing");
  return found;
};

export const MACHINE_ROUTES: readonly Route[] = [
  {
    method: "GET",
    path: "/vms",
    async run({ machines }) {
      return { json: await Promise.all(machines.all().map((machine) => machines.view(machine))) };
    },
  },
  {
    method: "POST",
    path: "/vms",
    async run(call) {
      const machine = await call.machines.create(await call.json<vm.CreateVmRequest>(), call.signal);
      return { json: await call.machines.view(machine), status: 201 };
    },
  },
  { method: "GET", path: "/vms/*", run: viewOf },
  {
    method: "DELETE",
    path: "/vms/*",
    async run(call) {
      await call.machines.remove(machineOf(call), call.query.get("force") === "true");
      return { json: {} };
    },
  },
  {
    method: "POST",
    path: "/vms/*/start",
    async run(call) {
      await call.machines.start(machineOf(call));
      return viewOf(call);
    },
  },
  {
    method: "POST",
    path: "/vms/*/wait",
    async run(call) {
      await machineOf(call).ready(milliseconds(call, "timeoutMs", READY_MS));
      return viewOf(call);
    },
  },
  {
    method: "POST",
    path: "/vms/*/stop",
    async run(call) {
      await machineOf(call).stop(milliseconds(call, "timeoutMs", STOP_MS));
      return viewOf(call);
    },
  },
  {
    method: "POST",
    path: "/vms/*/restart",
    async run(call) {
      await machineOf(call).stop(milliseconds(call, "timeoutMs", STOP_MS));
      await call.machines.start(machineOf(call));
      return viewOf(call);
    },
  },
  ...(["pause", "resume", "save"] as const).map((verb): Route => ({
    method: "POST",
    path: `/vms/*/${verb}`,
    async run(call) {
      await machineOf(call)[verb]();
      return viewOf(call);
    },
  })),
  {
    method: "POST",
    path: "/vms/*/rename",
    async run(call) {
      const { name } = await call.json<{ name: string }>();
      const machine = machineOf(call);
      await call.machines.rename(machine, name);
      return { json: await call.machines.view(machine) };
    },
  },
  {
    method: "POST",
    path: "/vms/*/resize",
    async run(call) {
      await resizeMachine(call.machines.host, machineOf(call), await call.json<vm.VmResize>());
      return viewOf(call);
    },
  },
  {
    method: "POST",
    path: "/vms/*/export",
    async run(call) {
      const { file, format } = await call.json<{ file: string; format: string }>();
      return { json: await exportMachine(call.machines.host, machineOf(call), file, format, call.signal) };
    },
  },
  {
    method: "GET",
    path: "/vms/*/logs",
    async run(call) {
      const tail = call.query.get("tail");
      const machine = machineOf(call);
      if (tail !== null) return { json: { lines: await machine.lastLines(Number(tail)) } };
      return { json: { lines: (await machine.consoleText()).split("\n") } };
    },
  },
  {
    method: "GET",
    path: "/vms/*/stats",
    async run(call) {
      return { json: await call.machines.stats(machineOf(call)) };
    },
  },
  {
    method: "POST",
    path: "/vms/*/exec",
    async run(call) {
      return { json: await execInGuest(machineOf(call), await call.json<vm.VmExecRequest>()) };
    },
  },
  {
    method: "GET",
    path: "/vms/*/file",
    async run(call) {
      return { stream: await copyFromGuest(machineOf(call), filePath(call)) };
    },
  },
  {
    method: "PUT",
    path: "/vms/*/file",
    async run(call) {
      await copyToGuest(machineOf(call), filePath(call), call.body);
      return { json: {} };
    },
  },
  {
    method: "GET",
    path: "/vms/*/login",
    async run(call) {
      const { record } = machineOf(call);
      const { file } = await ownKey(call.machines.host);
      return { json: { user: record.spec.user, keyFile: file, address: record.addresses[0]?.ipv4Address ?? "" } };
    },
  },
];
