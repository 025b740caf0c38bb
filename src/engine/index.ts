export type { EventBus, EngineEvent } from "./events/index.ts";
