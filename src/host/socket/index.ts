export { FakeSockets } from "./fake.ts";
export * from "./socket.ts";
