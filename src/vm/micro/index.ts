export { MicroIsolation } from "./isolation.ts";
