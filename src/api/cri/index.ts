import path from "node:path";

export type * from "./images.ts";
export type * from "./runtime.ts";

/** The published messages and methods, for who speaks them over gRPC. */
export const RUNTIME_PROTO: string = path.join(import.meta.dirname, "runtime.proto");
