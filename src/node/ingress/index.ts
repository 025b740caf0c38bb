export { IngressController, type IngressOptions } from "./controller.ts";
export type { GatewayController, GatewayOptions } from "./gateway/controller.ts";
export { startGateways } from "./gateway/start.ts";
