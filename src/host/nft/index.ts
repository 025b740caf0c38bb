export * from "./elements.ts";
export { FakeNft } from "./fake.ts";
export { LinuxNft } from "./nft.ts";
export type * from "./types.ts";
