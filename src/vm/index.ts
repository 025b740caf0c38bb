export * from "./qmp/index.ts";
export { MicroIsolation } from "./micro/index.ts";
export { Machines, resizeMachine, type Machine, type MachineEngine } from "./machine/index.ts";
export { Backups, BackupSchedule } from "./backup/index.ts";
export { createVmServer } from "./http/server.ts";
export { deleteSnapshot, listSnapshots, revertTo, takeSnapshot } from "./snapshot/index.ts";
export { knownAccelerator } from "./hypervisor/accelerator.ts";
