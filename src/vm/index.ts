export * from "./qmp/index.ts";
export { MicroIsolation } from "./micro/index.ts";
export { Machines, type MachineEngine } from "./machine/index.ts";
export { Backups, BackupSchedule } from "./backup/index.ts";
export { createVmServer } from "./http/server.ts";
