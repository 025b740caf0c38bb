export { RemoteImages } from "./remote-images.ts";
export { RemoteRuntime } from "./remote-runtime.ts";
