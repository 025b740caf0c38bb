export { CriImages } from "./images.ts";
export { CRI_OWNER, CriRuntime, type CriDeps, type LocalNodeRuntime } from "./service.ts";
export type * from "./types.ts";
export { listenCri } from "./grpc/socket.ts";
