export { openKernel, type Kernel } from "./kernel.ts";
