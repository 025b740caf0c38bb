export { Machines } from "./machines.ts";
export { Machine } from "./machine.ts";
export { type MachineEngine } from "./host.ts";
export { resizeMachine } from "./resize.ts";
