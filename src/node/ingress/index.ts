export { IngressController, type IngressOptions } from "./controller.ts";
