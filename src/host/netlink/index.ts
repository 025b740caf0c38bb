export * from "./address.ts";
export { FakeNetlinkHost } from "./fake.ts";
export { LinuxNetlinkHost, recordNetlink } from "./rtnetlink.ts";
export type * from "./types.ts";
