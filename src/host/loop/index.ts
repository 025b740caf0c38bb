export { attachLoop, detachLoop, loopDevices, type LoopDevice } from "./loop.ts";
