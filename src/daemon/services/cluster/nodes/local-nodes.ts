import type { Cluster } from "../../../../apiserver/index.ts";
import {
  failedPrecondition,
  hasCode,
  invalidArgument,
  KeyedMutex,
  messageOf,
  notFound,
  rfc3339,
} from "../../../../base/index.ts";
import { resources } from "../../../../client/index.ts";
import { CRI_OWNER, type Sandbox } from "../../../../engine/index.ts";
import type { cri } from "../../../../api/index.ts";
import { Overlay, overlayNode, type MeasuredNode, type RemoteKubelet } from "../../../../node/index.ts";
import type { DaemonContext } from "../../../context.ts";
import type { ClusterSettings } from "../settings.ts";
import type { AgentSwitch } from "./agent-switch.ts";
import type { JoinFile } from "../../../join.ts";
import type { OpenVms } from "../../vm-api.ts";
import { ElsewhereNode } from "./elsewhere-node.ts";
import { FurtherNode, type FurtherNodeParts } from "./further-node.ts";
import type { ImageSource } from "./image-source.ts";
import { invite } from "./invitation.ts";
import type { NodeBeside } from "./node-beside.ts";
import { NodeMachine, type MachineSize } from "./node-machine.ts";
import type { Elsewhere, Roster, RosterEntry } from "./roster.ts";

/** What `berth node ls` shows. */
export interface LocalNodeInfo {
  readonly name: string;
  readonly state: "running" | "stopped";
  readonly podCidr: string;
  /** The address of its NodePorts. */
  readonly address?: string;
}

export interface LocalNodesParts extends FurtherNodeParts {
  readonly cluster: Cluster;
  readonly images: ImageSource;
  readonly vms: OpenVms;
  readonly roster: Roster;
  readonly machine: AgentSwitch;
  /** This end of the overlay, in the machine's own namespace. */
  readonly link: Overlay;
}

/** The instance's nodes: the machine itself and those beside it. One change at a time. */
export class LocalNodes {
  readonly #context: DaemonContext;
  readonly #parts: LocalNodesParts;
  readonly #settings: ClusterSettings;
  readonly #further = new Map<string, NodeBeside>();
  readonly #lock = new KeyedMutex();

  constructor(context: DaemonContext, parts: LocalNodesParts, settings: ClusterSettings) {
    this.#context = context;
    this.#parts = parts;
    this.#settings = settings;
  }

  /** Those of the roster, and so many more that there are `atLeast`. */
  async open(atLeast: number): Promise<void> {
    const { roster, engine } = this.#parts;
    await this.#reclaim(engine.recovered);
    const known = roster.entries().filter(({ index }) => index > 1);
    if (known.length > 0) await this.#join();
    // Nodes that outlived the daemon ask for images where they did before.
    if (known.some(({ elsewhere }) => elsewhere)) await this.#parts.images.open();
    await Promise.all(known.map((entry) => this.#openOne(entry)));
    this.#introduce();
    await this.add(Math.max(0, atLeast - roster.entries().length));
  }

  /** Sandboxes of nodes that nobody knows any more: a removal was cut short. */
  async #reclaim(found: readonly Sandbox[]): Promise<void> {
    const known = new Set(this.#parts.roster.entries().map(({ index }) => `${CRI_OWNER.value}:${index}`));
    for (const sandbox of found) {
      const owner = sandbox.request.labels?.[CRI_OWNER.key] ?? "";
      if (owner.startsWith(`${CRI_OWNER.value}:`) && !known.has(owner)) await sandbox.destroy();
    }
  }

  async #openOne(entry: RosterEntry): Promise<void> {
    const node = await this.#make(entry);
    this.#further.set(entry.name, node);
    if (!entry.stopped) await node.resume();
  }

  async #make(entry: RosterEntry): Promise<NodeBeside> {
    if (!entry.elsewhere) return FurtherNode.open(this.#context, this.#parts, entry, this.#settings);
    const { client, underlay, cluster, vms } = this.#parts;
    const { certificates } = cluster;
    const common = {
      client,
      underlay,
      authority: certificates.authority.pair.cert,
      apiServer: certificates.issueClient({
        commonName: "kube-apiserver-kubelet-client",
        organizations: ["system:masters"],
      }),
    };
    if (entry.elsewhere.kind === "process") return new ElsewhereNode(this.#context, common, entry, this.#settings);
    const machine = new NodeMachine(this.#context, {
      name: entry.name,
      size: entry.elsewhere.size,
      netnsPath: underlay.pin(entry),
      nameServers: [this.#settings.dnsIp],
      invite: () => this.#invite(entry),
      vms,
    });
    return new ElsewhereNode(this.#context, { ...common, machine }, entry, this.#settings);
  }

  #invite(entry: RosterEntry): Promise<JoinFile> {
    return invite(this.#context, this.#parts.cluster, this.#parts.images, entry, this.#settings);
  }

  /** The machine joins the network of its nodes, once there are further ones. */
  async #join(): Promise<void> {
    await this.#parts.underlay.open(overlayNode(this.#settings.ranges, 1));
    this.#parts.link.open();
  }

  /** Every node learns of every other. */
  #introduce(): void {
    const nodes = this.#parts.roster.entries().map(({ index }) => overlayNode(this.#settings.ranges, index));
    if (nodes.length > 1 || this.#further.size > 0) this.#parts.link.setPeers(nodes);
    for (const node of this.#further.values()) node.setPeers(nodes);
  }

  list(): LocalNodeInfo[] {
    return this.#parts.roster.entries().map(({ name, index, stopped }) => {
      const { podCidrs, underlay } = overlayNode(this.#settings.ranges, index);
      return {
        name,
        state: stopped ? "stopped" : "running",
        podCidr: podCidrs.join(),
        ...(index > 1 && { address: underlay }),
      };
    });
  }

  /** Resolves when they are Ready: nodes in this process, or virtual machines. Throws resourceExhausted. */
  add(count: number, size?: MachineSize): Promise<string[]> {
    return this.#lock.run("", async () => {
      const added: string[] = [];
      for (let left = count; left > 0; left--) added.push((await this.#addOne(size && { kind: "machine", size })).name);
      return added;
    });
  }

  /** A place for a node that another berth becomes by the file that is returned, in the network namespace beside it. */
  addJoining(): Promise<{ readonly join: JoinFile; readonly netnsPath: string }> {
    return this.#lock.run("", async () => {
      const entry = await this.#addOne({ kind: "process" });
      return { join: await this.#invite(entry), netnsPath: this.#parts.underlay.pin(entry) };
    });
  }

  async #addOne(elsewhere: Elsewhere | undefined): Promise<RosterEntry> {
    this.#refusePlugins();
    await this.#join();
    const entry = this.#parts.roster.add(elsewhere);
    try {
      const node = await this.#make(entry);
      this.#further.set(entry.name, node);
      this.#introduce();
      await node.powerOn();
      return entry;
    } catch (error) {
      await this.#forget(entry.name);
      // It may have come as far as to register.
      await this.#deleteObjects(entry.name);
      throw error;
    }
  }

  #refusePlugins(): void {
    if (this.#context.config.cni)
      throw failedPrecondition("further nodes need berth's own Pod network, and CNI plugins are configured", {
        hint: "take cni-conf-dir out of the configuration",
      });
  }

  /** As a machine that is thrown away: nothing is drained. */
  remove(name: string): Promise<void> {
    return this.#lock.run("", async () => {
      if (this.#entry(name).index === 1)
        throw invalidArgument(`${name} is the machine itself and cannot be removed`, { hint: "berth node stop" });
      await this.#further.get(name)?.retire();
      await this.#deleteObjects(name);
      await this.#forget(name);
    });
  }

  /** From the roster last: a removal that is cut short leaves a node, which the next start finds, and not a part of one. */
  async #forget(name: string): Promise<void> {
    await this.#further.get(name)?.destroy();
    this.#further.delete(name);
    this.#parts.roster.remove(name);
    this.#introduce();
    if (this.#further.size > 0) return;
    this.#parts.link.close();
    this.#parts.underlay.close();
  }

  async #deleteObjects(name: string): Promise<void> {
    const { client } = this.#parts;
    const pods = await client.of(resources.pods).list({ fieldSelector: `spec.nodeName=${name}` });
    const gone = (error: unknown) => {
      if (!hasCode(error, "notFound")) throw error;
    };
    for (const { metadata } of pods.items)
      await client.of(resources.pods).delete(metadata, { gracePeriodSeconds: 0 }).catch(gone);
    await client.of(resources.nodes).delete({ name }).catch(gone);
  }

  /** Cuts the power. The cluster is told, unless `silent`: then it finds out by the node's silence. */
  stop(name: string, silent: boolean): Promise<void> {
    return this.#lock.run("", async () => {
      const entry = this.#entry(name);
      this.#parts.roster.mark(name, true);
      if (entry.index === 1) await this.#parts.machine.cutPower();
      else await this.#further.get(name)?.powerOff();
      if (!silent) await this.#sayStopped(name);
    });
  }

  async #sayStopped(name: string): Promise<void> {
    const now = rfc3339(this.#context.clock.nowMs());
    const ready = {
      type: "Ready",
      status: "False",
      reason: "NodeStopped",
      message: "berth node stop: the node is off",
    };
    const condition = { ...ready, lastHeartbeatTime: now, lastTransitionTime: now };
    await this.#parts.client
      .of(resources.nodes)
      .patch({ name }, { status: { conditions: [condition] } }, { subresource: "status", kind: "strategic" })
      .catch((error: unknown) =>
        this.#context.log.warn("the cluster was not told that a node is off", { node: name, why: messageOf(error) }),
      );
  }

  /** Resolves when it is Ready. */
  start(name: string): Promise<void> {
    return this.#lock.run("", async () => {
      const entry = this.#entry(name);
      if (entry.index === 1) await this.#parts.machine.on();
      else await this.#further.get(name)?.powerOn();
      this.#parts.roster.mark(name, false);
    });
  }

  /** For who wants to look into its Pods; undefined for a node that is off. */
  runtime(name: string): cri.RuntimeService | undefined {
    const agent = this.#agents().get(name);
    return agent?.isOn ? agent.runtime : undefined;
  }

  /** Nodes in other processes that are on. */
  elsewhere(): { readonly name: string; readonly kubelet: RemoteKubelet }[] {
    return this.#parts.roster.entries().flatMap(({ name, stopped }) => {
      const kubelet = stopped ? undefined : this.#further.get(name)?.kubelet;
      return kubelet ? [{ name, kubelet }] : [];
    });
  }

  /** The machine's own figures are its first node's. */
  running(): Omit<MeasuredNode, "usage">[] {
    return [...this.#agents()].flatMap(([name, agent]) => {
      const { isOn, runtime } = agent;
      const volumes = () => agent.volumeStats();
      return isOn ? [{ name, runtime, volumes, sharesMachine: name !== this.#settings.nodeName }] : [];
    });
  }

  #agents(): Map<string, AgentSwitch> {
    const further = [...this.#further].flatMap(([name, { agent }]) => (agent ? [[name, agent] as const] : []));
    return new Map([[this.#settings.nodeName, this.#parts.machine], ...further]);
  }

  #entry(name: string): RosterEntry {
    const entry = this.#parts.roster.find(name);
    if (entry) return entry;
    throw notFound(`no local node is called ${JSON.stringify(name)}`, { hint: "berth node ls" });
  }

  /** The machine goes down in order. */
  async drain(): Promise<void> {
    await Promise.all([...this.#further.values()].map(async ({ agent }) => agent?.drain()));
  }

  async close(): Promise<void> {
    await Promise.all([...this.#further.values()].map((node) => node.close()));
  }
}
