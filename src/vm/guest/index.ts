export { CACHE, forgetUnused, touch } from "./cache.ts";
export { openKernel, type Kernel } from "./kernel.ts";
export { machineInitramfs } from "./initramfs.ts";
export { GuestAgentClient, type GuestExecResult } from "./qga.ts";
