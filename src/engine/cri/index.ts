export { CriImages } from "./images.ts";
export { CRI_OWNER, type CriDeps, type LocalNodeRuntime } from "./state.ts";
export { CriRuntime } from "./service.ts";
export type * from "./types.ts";
export { listenCri } from "./grpc/socket.ts";
