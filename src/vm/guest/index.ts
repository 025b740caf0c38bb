export { CONTROL_PORT } from "./init.ts";
export { openInitramfs } from "./initramfs.ts";
export { openKernel, type Kernel } from "./kernel.ts";
