export { readBody, readJsonBody } from "./body.ts";
export {
  checkLogin,
  RegistrySession,
  type ClientEnvironment,
  type FetchedManifest,
  type Repository,
} from "./client.ts";
export { Transport } from "./transport.ts";
export type * from "./types.ts";
