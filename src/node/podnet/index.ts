export { PodNet, type PodNetOptions } from "./podnet.ts";
