export { FakeSockets } from "./fake.ts";
export { listenLazily, type ConnectionServer } from "./lazy.ts";
export * from "./socket.ts";
