import { hasCode, messageOf, type InstanceContext } from "../../base/index.ts";
import {
  createEventRecorder,
  keyOf,
  resources,
  WorkQueue,
  type AnyObject,
  type Informer,
  type InformerFactory,
  type KubeClient,
  type Resource,
} from "../../client/index.ts";
import { installResources } from "../custom-resources.ts";
import { vmDefinitions } from "./crds.ts";
import type { VirtualMachineHost } from "./host.ts";
import { MachineReconciler } from "./machines.ts";
import { machineName } from "./plan.ts";
import { vmRoles } from "./roles.ts";
import { BackupReconciler, SnapshotReconciler } from "./snapshots.ts";
import { instanceTypes, virtualMachines, vmBackups, vmSnapshots } from "./types.ts";

/** A cluster that has just begun has better things to do than to define resources that few use. */
const FIRST_INSTALL_MS = 1_500;
/** One that shuts a guest down or copies a disk is busy for that long. */
const WORKERS = 8;

export interface VirtualMachinesOptions {
  /** Makes definitions, Pods and status: the administrator's. */
  readonly client: KubeClient;
  readonly informers: InformerFactory;
  readonly host: VirtualMachineHost;
}

interface Reconciler {
  reconcile(key: string, signal: AbortSignal): Promise<{ requeueAfterMs?: number } | void>;
}

/** VirtualMachines, their snapshots and backups. Their resources are defined by the controller itself unless somebody has defined them already. */
export class VirtualMachinesController {
  readonly #ctx: InstanceContext;
  readonly #options: VirtualMachinesOptions;
  readonly #queue: WorkQueue;
  readonly #stop = new AbortController();
  #running: Promise<void> = Promise.resolve();

  constructor(ctx: InstanceContext, options: VirtualMachinesOptions) {
    this.#ctx = ctx;
    this.#options = options;
    this.#queue = new WorkQueue({ ...ctx, baseDelayMs: 100 });
  }

  /** Goes on by itself: nobody who starts a cluster waits for it. */
  start(): void {
    this.#running = this.#run().catch((error: unknown) => {
      if (!this.#stop.signal.aborted) this.#ctx.log.error("VirtualMachines are not served", { error });
    });
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    await this.#install();
    const reconcilers = await this.#follow();
    await this.#queue.run(
      WORKERS,
      async (queued) => {
        const [kind, key] = queued.split(" ") as [string, string];
        try {
          const again = await reconcilers[kind]!.reconcile(key, signal);
          if (again?.requeueAfterMs !== undefined) this.#queue.addAfter(queued, again.requeueAfterMs);
        } catch (error) {
          if (this.#queue.failures(queued) === 3)
            this.#ctx.log.warn("a virtual machine's object keeps failing", { key: queued, error: messageOf(error) });
          throw error;
        }
      },
      signal,
    );
  }

  async #install(): Promise<void> {
    const { client } = this.#options;
    const served = [virtualMachines, instanceTypes, vmSnapshots, vmBackups] as readonly Resource[];
    const wanted = { client, definitions: vmDefinitions(), resources: served, firstAfterMs: FIRST_INSTALL_MS };
    await installResources({ ...wanted, clock: this.#ctx.clock }, this.#stop.signal);
    for (const role of vmRoles()) await client.of(resources.clusterRoles).create(role).catch(unlessThere);
  }

  async #follow(): Promise<Readonly<Record<string, Reconciler>>> {
    const { client, informers, host } = this.#options;
    const { clock } = this.#ctx;
    const vms = informers.for(virtualMachines);
    const types = informers.for(instanceTypes);
    const snapshots = informers.for(vmSnapshots);
    const backups = informers.for(vmBackups);
    const pods = informers.for(resources.pods);
    this.#bring("vm", vms);
    this.#bring("snapshot", snapshots);
    this.#bring("backup", backups);
    const owner = (pod: AnyObject) => {
      const vm = pod.metadata?.ownerReferences?.find(({ kind }) => kind === virtualMachines.kind);
      if (vm) this.#queue.add(`vm ${pod.metadata!.namespace}/${vm.name}`);
    };
    pods.onChange({ added: owner, updated: owner, deleted: owner });
    const all = () => vms.list().forEach((vm) => this.#queue.add(`vm ${keyOf(vm)}`));
    types.onChange({ added: all, updated: all, deleted: all });
    host.onChange((name) => {
      const vm = vms.list().find((one) => machineName(one) === name);
      if (vm) this.#queue.add(`vm ${keyOf(vm)}`);
    });
    informers.start(this.#stop.signal);
    await Promise.all([vms, types, snapshots, backups, pods].map((informer) => informer.whenSynced()));
    const events = createEventRecorder({ ...this.#ctx, client, component: "berth-virtual-machines" });
    const shared = { client, clock, events, host, vms };
    const copies = { ...shared, snapshots, backups };
    return {
      vm: new MachineReconciler({ ...shared, types, pods }),
      snapshot: new SnapshotReconciler(copies),
      backup: new BackupReconciler(copies),
    };
  }

  #bring<T extends AnyObject>(kind: string, informer: Informer<T>): void {
    const add = (object: AnyObject) => this.#queue.add(`${kind} ${keyOf(object)}`);
    informer.onChange({ added: add, updated: add, deleted: add });
  }

  /** Machines run on. What shuts one down or copies a disk is not waited for. */
  close(): void {
    this.#stop.abort();
  }

  /** Resolves when nothing is done any more; for tests. */
  get settled(): Promise<void> {
    return this.#running;
  }
}

function unlessThere(error: unknown): void {
  if (!hasCode(error, "alreadyExists")) throw error;
}
