export { QmpClient, type QmpEvent } from "./client.ts";
