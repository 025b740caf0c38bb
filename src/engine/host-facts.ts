import { statfsSync } from "node:fs";
import type { InstanceContext } from "../base/index.ts";
import { cgroupLayout } from "../host/index.ts";
import type { EngineOptions } from "./options.ts";

/** What `docker info` tells of the machine, as far as the engine decides it. */
export interface HostFacts {
  readonly backingFilesystem: string;
  readonly cgroupVersion: "1" | "2";
  readonly runtimes: Readonly<Record<string, { readonly path: string }>>;
  readonly defaultRuntime: string;
  readonly addressPools: ReadonlyArray<{ readonly Base: string; readonly Size: number }>;
}

/** statfs(2)'s magic numbers of the file systems that overlayfs is commonly put on. */
const FILESYSTEMS: Readonly<Record<number, string>> = {
  0xef53: "extfs",
  0x58465342: "xfs",
  0x9123683e: "btrfs",
  0x01021994: "tmpfs",
  0x2fc12fc1: "zfs",
  0x794c7630: "overlayfs",
};

export function hostFacts(context: InstanceContext, options: EngineOptions): HostFacts {
  return {
    backingFilesystem: FILESYSTEMS[statfsSync(context.dataDir).type] ?? "unknown",
    cgroupVersion: cgroupLayout().mode === "unified" ? "2" : "1",
    runtimes: {
      crun: { path: "crun" },
      runc: { path: "runc" },
      ...(options.isolations?.length ? { vm: { path: "qemu-system-x86_64" } } : {}),
      ...options.runtimes,
    },
    defaultRuntime: options.defaultRuntime,
    addressPools: options.addressPools.map(({ base, size }) => ({ Base: base, Size: size })),
  };
}
