export { Machines } from "./machines.ts";
export { Machine } from "./machine.ts";
export { type MachineEngine } from "./host.ts";
export { sandboxId } from "./network.ts";
export { resizeMachine } from "./resize.ts";
