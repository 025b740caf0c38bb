export { nodeLifecycleController } from "./lifecycle.ts";
export { taintEvictionController } from "./taint-eviction.ts";
