export * from "./ffi/index.ts";
export * from "./mount/index.ts";
export * from "./conmon/index.ts";
export * from "./process/index.ts";
export * from "./seccomp/index.ts";
export * from "./netlink/index.ts";
export * from "./netns/index.ts";
export * from "./nft/index.ts";
