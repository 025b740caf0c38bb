/** etcd's own server, from Debian's package, on free ports of loopback. */
import { spawn, type ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { codeOf } from "../../src/base/index.ts";
import { openEtcdStore, type EtcdStoreOptions, type Store } from "../../src/storage/index.ts";

const ETCD = "/usr/bin/etcd";
const OPEN_ATTEMPTS = 100;
const OPEN_PAUSE_MS = 200;

/** For `describe`: why a test of etcd is left out. */
export const skipWithoutEtcd = existsSync(ETCD) ? false : "etcd-server is not installed";

export async function freePort(): Promise<number> {
  const probe = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => probe.once("listening", resolve));
  const { port } = probe.address() as AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  return port;
}

export interface Etcd {
  readonly endpoint: string;
  stop(): Promise<void>;
}

export interface EtcdServerOptions {
  readonly data: string;
  readonly port: number;
  readonly peerPort: number;
  readonly name?: string;
  /** `name=peerUrl,…` of all members; this one alone by default. */
  readonly cluster?: string;
  /** Files. Clients must show a certificate of the same authority. */
  readonly tls?: { readonly ca: string; readonly cert: string; readonly key: string };
}

const running = new Set<ChildProcess>();

export function startEtcd({ data, port, peerPort, name = "default", cluster, tls }: EtcdServerOptions): Etcd {
  const url = `${tls ? "https" : "http"}://127.0.0.1:${port}`;
  const peer = `http://127.0.0.1:${peerPort}`;
  const flags: Record<string, string> = {
    name,
    "data-dir": data,
    "listen-client-urls": url,
    "advertise-client-urls": url,
    "listen-peer-urls": peer,
    "initial-advertise-peer-urls": peer,
    "initial-cluster": cluster ?? `${name}=${peer}`,
    "log-level": "error",
  };
  if (tls) Object.assign(flags, { "trusted-ca-file": tls.ca, "cert-file": tls.cert, "key-file": tls.key });
  const argv = Object.entries(flags).flatMap(([flag, value]) => [`--${flag}`, value]);
  if (tls) argv.push("--client-cert-auth");
  const child = spawn(ETCD, [...argv, "--unsafe-no-fsync"], { stdio: "ignore" });
  running.add(child);
  const stop = async () => {
    running.delete(child);
    if (child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await gone;
  };
  return { endpoint: url, stop };
}

/** For `after`: whatever a failed test left running. */
export function killEtcds(): void {
  for (const server of running) server.kill("SIGKILL");
}

/** Opens the store as soon as the servers answer. */
export async function openedEtcd(options: EtcdStoreOptions): Promise<Store> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await openEtcdStore({ timeoutMs: 2000, ...options });
    } catch (error) {
      if (attempt >= OPEN_ATTEMPTS || codeOf(error) !== "unavailable") throw error;
      await new Promise((resolve) => setTimeout(resolve, OPEN_PAUSE_MS));
    }
  }
}
