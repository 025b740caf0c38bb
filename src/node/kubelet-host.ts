import { mkdir, readFile, statfs } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { mkdirSync, writeFileSync } from "node:fs";
import {
  attachLoop,
  bindBeneath,
  detachLoop,
  listenLazily,
  loopDevices,
  mountsBelow,
  mountTmpfs,
  unmount,
} from "../host/index.ts";
import { messageOf, type Logger } from "../base/index.ts";
import type { KubeletHost, MachineFacts } from "./kubelet/index.ts";

/** The machine below a kubelet, through host/. `hostIps` and a changed hostname are for local nodes, which share one machine. */
export function kubeletHost(log: Logger, overrides: Partial<MachineFacts> = {}): KubeletHost {
  return {
    mountTmpfs: async (target, options) => {
      await mkdir(target, { recursive: true });
      mountTmpfs(target, options);
    },
    bindBeneath: async (root, subPath, target) => {
      await mkdir(path.dirname(target), { recursive: true });
      bindBeneath(root, subPath, target, (isFolder) =>
        isFolder ? mkdirSync(target, { recursive: true }) : writeFileSync(target, "", { flag: "a" }),
      );
    },
    unmount: async (target) => void unmount(target, { lazy: true }),
    mountsBelow: async (folder) => mountsBelow(folder),
    attachLoop,
    detachLoop,
    loopDevices,
    // A kubelet that can't offer it (a path too long for a socket) is one all the same.
    listen: (socket, load) =>
      listenLazily(socket, load, log).catch((error: unknown) => {
        log.warn("a socket of the kubelet can't be opened", { socket, error: messageOf(error) });
        return { close: async () => {} };
      }),
    machine: () => machineFacts(overrides),
    diskSpace: async (folder) => {
      const { bsize, blocks, bavail, files, ffree } = await statfs(folder);
      return { totalBytes: blocks * bsize, availableBytes: bavail * bsize, totalInodes: files, freeInodes: ffree };
    },
    processes: async () => ({ running: await threadCount(), max: await maxThreads() }),
    memory: async () => ({ totalBytes: os.totalmem(), availableBytes: await availableMemory() }),
  };
}

async function machineFacts(overrides: Partial<MachineFacts>): Promise<MachineFacts> {
  const text = (file: string) =>
    readFile(file, "utf8").then(
      (content) => content.trim(),
      () => "",
    );
  const [machineId, systemUuid, bootId, release] = await Promise.all(
    ["/etc/machine-id", "/sys/class/dmi/id/product_uuid", "/proc/sys/kernel/random/boot_id", "/etc/os-release"].map(
      text,
    ),
  );
  return {
    hostname: os.hostname(),
    machineId: machineId!,
    systemUuid: systemUuid! || machineId!,
    bootId: bootId!,
    kernelVersion: os.release(),
    osImage: /^PRETTY_NAME="?([^"\n]*)"?$/m.exec(release!)?.[1] ?? "Linux",
    architecture: { x64: "amd64", arm64: "arm64" }[process.arch as "x64"] ?? process.arch,
    cpus: os.availableParallelism(),
    memoryBytes: os.totalmem(),
    hostIps: hostAddresses(),
    ...overrides,
  };
}

/** The machine's first address that others could reach, IPv4 before IPv6; loopback where there is no other. */
function hostAddresses(): string[] {
  const own = Object.entries(os.networkInterfaces())
    .filter(([name]) => !/^(lo|berth|docker|br-|veth|cni|flannel|virbr)/.test(name))
    .flatMap(([, addresses]) => addresses ?? [])
    .filter((address) => !address.internal);
  const v4 = own.find((address) => address.family === "IPv4")?.address ?? "127.0.0.1";
  return [v4];
}

async function availableMemory(): Promise<number> {
  const text = await readFile("/proc/meminfo", "utf8");
  return Number(/^MemAvailable:\s+(\d+)/m.exec(text)?.[1] ?? 0) * 1024;
}

async function threadCount(): Promise<number> {
  return Number(/\/(\d+) /.exec(await readFile("/proc/loadavg", "utf8"))?.[1] ?? 0);
}

async function maxThreads(): Promise<number> {
  const limits = await Promise.all(
    ["pid_max", "threads-max"].map(async (name) => Number(await readFile(`/proc/sys/kernel/${name}`, "utf8"))),
  );
  return Math.min(...limits);
}
