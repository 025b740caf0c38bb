export { LinuxConntrack } from "./conntrack.ts";
export { FakeConntrack } from "./fake.ts";
export type * from "./types.ts";
