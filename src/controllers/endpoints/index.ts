export { endpointsController, endpointSliceController, endpointSliceMirroringController } from "./controller.ts";
