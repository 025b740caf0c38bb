import { mkdir, readdir, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { alreadyExists, internal } from "../../../base/index.ts";
import { run, signalProcess, spawn, unmount } from "../../../host/index.ts";
import { checkId, MonitoredContainer } from "./container.ts";
import type { Core } from "./core.ts";
import { readFacts, writeFacts } from "./facts.ts";
import { clearUnfinished, isUnfinished } from "./unfinished.ts";
import type { ContainerRequest, Isolation, RuntimeContainer, Sandbox, SandboxRequest } from "./types.ts";

/** What stands in `sandboxes/ID/facts.json`. */
interface SandboxFacts {
  readonly request: SandboxRequest;
  /** Holds a shared pid namespace; 0 when there is none. */
  readonly holderPid: number;
}

/** Isolation by namespaces and control groups on the host's kernel. */
export class ProcessIsolation implements Isolation {
  readonly name = "process";
  readonly #core: Core;
  readonly #sandboxes = new Map<string, ProcessSandbox>();

  constructor(core: Core) {
    this.#core = core;
  }

  async createSandbox(request: SandboxRequest): Promise<Sandbox> {
    checkId(request.id);
    if (this.#sandboxes.has(request.id)) throw alreadyExists(`sandbox ${request.id} exists already`);
    const sandbox = new ProcessSandbox(this.#core, request, this.#forget);
    this.#sandboxes.set(request.id, sandbox);
    try {
      await sandbox.hold();
      return sandbox;
    } catch (error) {
      await sandbox.destroy();
      throw error;
    }
  }

  async recover(): Promise<Sandbox[]> {
    for (const id of await readdir(this.#core.layout.sandboxes).catch(() => [])) {
      const facts = await readFacts<SandboxFacts>(path.join(this.#core.layout.sandbox(id), "facts.json"));
      const sandbox = new ProcessSandbox(this.#core, facts?.request ?? { id }, this.#forget, facts?.holderPid);
      if (facts) this.#sandboxes.set(id, sandbox);
      else await sandbox.destroy();
    }
    const bundles = await readdir(this.#core.layout.bundles).catch(() => []);
    for (const id of bundles) if (isUnfinished(this.#core, id)) await clearUnfinished(this.#core, id);
    const known = new Map<string, string>();
    for (const id of bundles) {
      const sandbox = await this.#recoverContainer(id);
      const container = sandbox?.container(id);
      if (container) known.set(id, container.request.spec.linux.cgroupsPath!);
    }
    await this.#core.reclaim(known);
    return [...this.#sandboxes.values()];
  }

  async #recoverContainer(id: string): Promise<ProcessSandbox | undefined> {
    let owner = undefined as ProcessSandbox | undefined;
    const container = await MonitoredContainer.recover(this.#core, id, (gone) => owner?.forget(gone));
    if (!container) return undefined;
    owner = this.#sandboxes.get(container.sandboxId);
    if (!owner) {
      await container.delete();
      return undefined;
    }
    owner.adopt(container);
    return owner;
  }

  async close(): Promise<void> {
    this.#core.close();
  }
  readonly #forget = (id: string) => void this.#sandboxes.delete(id);
}

class ProcessSandbox implements Sandbox {
  readonly id: string;
  readonly isolation = "process";
  readonly request: SandboxRequest;
  readonly #core: Core;
  readonly #containers = new Map<string, RuntimeContainer>();
  readonly #onDestroy: (id: string) => void;
  #holderPid: number;

  constructor(core: Core, request: SandboxRequest, onDestroy: (id: string) => void, holderPid = 0) {
    this.#core = core;
    this.id = request.id;
    this.request = request;
    this.#onDestroy = onDestroy;
    this.#holderPid = holderPid;
  }

  get #directory(): string {
    return this.#core.layout.sandbox(this.id);
  }
  get namespaces(): Sandbox["namespaces"] {
    const { netnsPath, shared } = this.request;
    return {
      net: netnsPath,
      ipc: shared?.ipc ? path.join(this.#directory, "ipc") : undefined,
      uts: shared?.uts ? path.join(this.#directory, "uts") : undefined,
      pid: shared?.pid && this.#holderPid > 0 ? `/proc/${this.#holderPid}/ns/pid` : undefined,
    };
  }

  /** Makes the shared namespaces: ipc and uts are kept by bind mounts alone, a pid namespace by a process, its init. */
  async hold(): Promise<void> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    const { shared, hostname, sysctls } = this.request;
    const { ipc, uts } = this.namespaces;
    const flags: string[] = [];
    for (const [flag, file] of [
      ["ipc", ipc],
      ["uts", uts],
    ] as const) {
      if (file === undefined) continue;
      await writeFile(file, "");
      flags.push(`--${flag}=${file}`);
    }
    if (flags.length > 0) await this.#unshare(flags, hostname, sysctls);
    if (shared?.pid) this.#holderPid = await this.#startPidHolder();
    await writeFacts(path.join(this.#directory, "facts.json"), { request: this.request, holderPid: this.#holderPid });
  }

  async #unshare(flags: string[], hostname = "", sysctls: Readonly<Record<string, string>> = {}): Promise<void> {
    const enter = this.request.netnsPath ? ["/usr/bin/nsenter", `--net=${this.request.netnsPath}`, "--"] : [];
    const script = `[ -z "$1" ] || hostname "$1"; shift; while [ $# -gt 1 ]; do echo "$2" > "$1" || exit 1; shift 2; done`;
    const writes = Object.entries(sysctls).flatMap(([name, value]) => [sysctlFile(name), value]);
    const uts = flags.some((flag) => flag.startsWith("--uts")) ? hostname : "";
    const argv = [...enter, "/usr/bin/unshare", ...flags, "--", "/bin/sh", "-c", script, "sh", uts, ...writes];
    const { code, stderr } = await run(argv);
    if (code !== 0) throw internal(`cannot make the namespaces of sandbox ${this.id}: ${stderr.trim()}`);
  }

  /** A process that only reaps: Debian's shell waiting on a sleep that never ends. */
  async #startPidHolder(): Promise<number> {
    const argv = ["/usr/bin/unshare", "--pid", "--fork", "--kill-child", "--", "/bin/sh", "-c"];
    const pid = spawn({ argv: [...argv, "trap : CHLD; while :; do sleep 2147483647 & wait; done"], newSession: true });
    for (let attempt = 0; attempt < HOLDER_ATTEMPTS; attempt++) {
      const child = (await readChildren(pid))[0];
      if (child !== undefined) return child;
      await this.#core.ctx.clock.sleep(1);
    }
    signalProcess(pid, 9);
    throw internal(`cannot make the pid namespace of sandbox ${this.id}`);
  }

  async createContainer(request: ContainerRequest, signal?: AbortSignal): Promise<RuntimeContainer> {
    checkId(request.id);
    const parent = this.request.cgroupParent;
    const cgroupsPath = request.spec.linux.cgroupsPath ?? (parent ? path.join("/", parent, request.id) : undefined);
    const spec = { ...request.spec, linux: { ...request.spec.linux, cgroupsPath } };
    const container = await MonitoredContainer.create(
      this.#core,
      this.id,
      { ...request, spec },
      (id) => this.forget(id),
      signal,
    );
    this.#containers.set(container.id, container);
    return container;
  }
  adopt(container: RuntimeContainer): void {
    this.#containers.set(container.id, container);
  }
  forget(id: string): void {
    this.#containers.delete(id);
  }
  container(id: string): RuntimeContainer | undefined {
    return this.#containers.get(id);
  }
  containers(): readonly RuntimeContainer[] {
    return [...this.#containers.values()];
  }

  async destroy(): Promise<void> {
    await Promise.all(this.containers().map((container) => container.delete()));
    if (this.#holderPid > 0) signalProcess(this.#holderPid, 9);
    for (const name of ["ipc", "uts"]) unmount(path.join(this.#directory, name), { lazy: true });
    await rm(this.#directory, { recursive: true, force: true });
    this.#onDestroy(this.id);
  }
}

const HOLDER_ATTEMPTS = 200;

async function readChildren(pid: number): Promise<number[]> {
  const { readFile } = await import("node:fs/promises");
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8").catch(() => "");
  return text.trim() === "" ? [] : text.trim().split(" ").map(Number);
}

/** `net.ipv4.ip_forward` → /proc/sys/net/ipv4/ip_forward; a name with slashes keeps its dots. */
function sysctlFile(name: string): string {
  return `/proc/sys/${name.includes("/") ? name : name.replaceAll(".", "/")}`;
}
