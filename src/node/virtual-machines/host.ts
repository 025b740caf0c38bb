import type { vm } from "../../api/index.ts";

/** What the controller sees of a machine. */
export interface VirtualMachineFacts {
  readonly name: string;
  readonly state: vm.VmState;
  /** Why it is in this state. */
  readonly reason?: string;
  readonly finishedMs?: number;
  readonly startedMs?: number;
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly ipAddress?: string;
  /** The namespace on whose network it is. */
  readonly netnsPath?: string;
  /** The last that its console said. */
  readonly lastLine?: string;
}

/** The hypervisor as the controller knows it. Declared here, implemented over the rooms of `vm/` and the engine by the daemon. */
export interface VirtualMachineHost {
  find(name: string): Promise<VirtualMachineFacts | undefined>;
  /** From an OCI image it is pulled first, as the policy says. */
  create(request: vm.CreateVmRequest, pull: "Always" | "IfNotPresent" | "Never", signal: AbortSignal): Promise<void>;
  /** A stopped machine from a backup, by the id that `backup` gave. */
  restore(backupId: string, name: string): Promise<void>;
  /** Gives it another size; it does not run. */
  resize(name: string, size: { cpus: number; memoryBytes: number }): Promise<void>;
  /** Starts it on the network of a Pod. */
  start(name: string, place: { netnsPath: string; namespace: string }): Promise<void>;
  /** Resolves when it has ended; after `timeoutMs` it is ended. */
  stop(name: string, timeoutMs: number): Promise<void>;
  /** Idempotent. */
  remove(name: string): Promise<void>;
  /** Idempotent by the snapshot's name. */
  snapshot(name: string, snapshot: string, description: string): Promise<vm.VmSnapshot>;
  /** Idempotent. */
  removeSnapshot(name: string, snapshot: string): Promise<void>;
  revert(name: string, snapshot: string): Promise<void>;
  backup(name: string, full: boolean): Promise<vm.VmBackup>;
  /** Idempotent. Throws failedPrecondition while other backups are based on it. */
  removeBackup(id: string): Promise<void>;
  /** The network of a Pod that runs on one of this machine's nodes; undefined before it has one. */
  podNamespace(nodeName: string, podUid: string): string | undefined;
  /** Makes sure that the image of launchers is there, and names it. */
  launcherImage(): Promise<string>;
  /** Calls back with a machine's name when something about it has changed. */
  onChange(listener: (name: string) => void): void;
}
