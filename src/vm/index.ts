export * from "./qmp/index.ts";
export { MicroIsolation } from "./micro/index.ts";
