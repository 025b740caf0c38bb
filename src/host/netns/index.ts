export { FakeNetns } from "./fake.ts";
export * from "./netns.ts";
