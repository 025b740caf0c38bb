import type { InstanceContext } from "../../../base/index.ts";
import type { GatewayController, GatewayOptions } from "./controller.ts";

/** Loads the controller only after everything that a starting cluster waits for. */
export async function startGateways(ctx: InstanceContext, options: GatewayOptions): Promise<GatewayController> {
  const { GatewayController } = await import("./controller.ts");
  const controller = new GatewayController(ctx, options);
  controller.start();
  return controller;
}
