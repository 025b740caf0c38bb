import { existsSync } from "node:fs";
import { failedPrecondition } from "../../../base/index.ts";

const INIT_BINARIES = [
  "/usr/bin/tini-static",
  "/usr/bin/docker-init",
  "/usr/bin/catatonit",
  "/usr/libexec/podman/catatonit",
];

/** The program that is a container's process 1 under `--init`: the configured one (`init-path`), else the first that is installed. */
export function initBinary(configured?: string): string | undefined {
  return (configured === undefined ? INIT_BINARIES : [configured]).find((file) => existsSync(file));
}

/** Throws failedPrecondition when there is none. */
export function requireInit(configured?: string): string {
  const found = initBinary(configured);
  if (found !== undefined) return found;
  throw failedPrecondition("--init needs an init program, and none is installed", { hint: "install the package tini" });
}
