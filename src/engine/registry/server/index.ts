export { RegistryServer, type LocalImages, type RegistryServerOptions } from "./server.ts";
