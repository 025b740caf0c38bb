export type { VirtualMachineFacts, VirtualMachineHost } from "./host.ts";
export { LAUNCHER_IMAGE, launcherFiles, startVirtualMachines } from "./start.ts";
