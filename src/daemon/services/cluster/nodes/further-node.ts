import { rm } from "node:fs/promises";
import path from "node:path";
import { resources, type InformerFactory, type KubeClient } from "../../../../client/index.ts";
import { CriImages, type CriRuntime, type Engine } from "../../../../engine/index.ts";
import {
  clusterCidrs,
  type NetworkPolicies,
  Overlay,
  overlayId,
  overlayNode,
  PodNet,
  type ServiceProxy,
  type OverlayNode,
  type Underlay,
} from "../../../../node/index.ts";
import { mountsBelow, unmount, type NetworkHosts } from "../../../../host/index.ts";
import type { DaemonContext } from "../../../context.ts";
import { criRuntime } from "../node.ts";
import { LOCAL_NODE_LABEL } from "./label.ts";
import { virtualCidrs, type ClusterSettings } from "../settings.ts";
import { AgentSwitch } from "./agent-switch.ts";
import { startAgent } from "./agent.ts";
import { furtherNetworkPolicies, furtherServiceProxy } from "./node-rules.ts";
import type { NodeBeside } from "./node-beside.ts";
import type { RosterEntry } from "./roster.ts";

export interface FurtherNodeParts {
  readonly engine: Engine;
  readonly client: KubeClient;
  readonly informers: InformerFactory;
  readonly underlay: Underlay;
}

/** What a user sees on the Node: that its figures are the machine's. */
const SHARES_MACHINE = "berth.dev/shares-machine";

/** A node beside the machine's own: its namespace, Pod network, proxy, policies, runtime and kubelet (docs/adr/0090). */
export class FurtherNode implements NodeBeside {
  readonly name: string;
  readonly overlay: OverlayNode;
  readonly agent: AgentSwitch;
  readonly #context: DaemonContext;
  readonly #parts: FurtherNodeParts;
  readonly #tag: string;
  readonly #podNet: PodNet;
  readonly #proxy: ServiceProxy;
  readonly #policies: NetworkPolicies;
  readonly #link: Overlay;
  readonly #runtime: CriRuntime;

  private constructor(
    context: DaemonContext,
    parts: FurtherNodeParts,
    { index, name }: RosterEntry,
    settings: ClusterSettings,
    hosts: NetworkHosts,
  ) {
    this.#context = context;
    this.#parts = parts;
    this.name = name;
    this.#tag = String(index);
    this.overlay = overlayNode(settings.ranges, index);
    const machine = overlayNode(settings.ranges, 1);
    const ctx = { ...context, log: context.log.with({ service: "node-network", node: name }) };
    const ofTheMachine = [settings.dnsIp, settings.ingressCidr];
    this.#link = new Overlay(ctx, { id: overlayId(context.instance), own: this.overlay, hosts, ofTheMachine });
    const node = this.#tag;
    const common = {
      hosts,
      node,
      clusterCidrs: clusterCidrs(settings.ranges),
      overlay: this.#link.link,
      virtualCidrs: virtualCidrs(settings),
    };
    this.#podNet = new PodNet(ctx, common);
    this.#proxy = furtherServiceProxy(ctx, parts.informers, settings, name, hosts);
    this.#policies = furtherNetworkPolicies(ctx, parts.informers, settings, name, hosts, machine.gateways);
    const { engine, client, informers, underlay } = parts;
    this.#runtime = criRuntime(context, engine, this.#podNet, { tag: node, netnsPath: underlay.pin(this.overlay) });
    const agentParts = { client, informers, runtime: this.#runtime, images: new CriImages(context, engine.images) };
    const identity = {
      name,
      podCidr: this.overlay.podCidrs.join(),
      tag: node,
      hostIps: [this.overlay.underlay, ...(this.overlay.underlay6 ? [this.overlay.underlay6] : [])],
      labels: { [LOCAL_NODE_LABEL]: node },
    };
    this.agent = new AgentSwitch(this.#runtime, () => startAgent(context, agentParts, identity, settings));
  }

  /** Makes, or finds again, everything but the kubelet. */
  static async open(
    context: DaemonContext,
    parts: FurtherNodeParts,
    entry: RosterEntry,
    settings: ClusterSettings,
  ): Promise<FurtherNode> {
    const hosts = parts.underlay.plugIn(overlayNode(settings.ranges, entry.index));
    const node = new FurtherNode(context, parts, entry, settings, hosts);
    await node.#podNet.setPodCidr(node.overlay.podCidrs.join());
    node.#link.open();
    await Promise.all([node.#proxy.start(), node.#policies.start(), node.#runtime.recover(parts.engine.recovered)]);
    return node;
  }

  setPeers(nodes: readonly OverlayNode[]): void {
    this.#link.setPeers(nodes);
  }

  /** Plugged in, and Ready. */
  async powerOn(): Promise<void> {
    this.#parts.underlay.connect(this.overlay, true);
    await this.agent.on();
    const shares =
      "CPU, memory and disk are those of the whole machine, which all its local nodes share; the usage is that of its own Pods";
    await this.#parts.client
      .of(resources.nodes)
      .patch({ name: this.name }, { metadata: { annotations: { [SHARES_MACHINE]: shares } } }, { kind: "merge" });
  }

  resume(): Promise<void> {
    return this.powerOn();
  }

  retire(): Promise<void> {
    return this.agent.off();
  }

  async powerOff(): Promise<void> {
    await this.agent.cutPower();
    this.#parts.underlay.connect(this.overlay, false);
  }

  /** The daemon ends; Pods and rules stay. */
  async close(): Promise<void> {
    await this.agent.off();
    await Promise.all([this.#proxy.close(), this.#policies.close()]);
  }

  /** Removes everything of it from the machine. */
  async destroy(): Promise<void> {
    await this.close();
    await this.#runtime.destroyAll();
    await this.#podNet.destroyAll();
    this.#parts.underlay.unplug(this.overlay);
    const { dataDir, runtimeDir } = this.#context;
    const folders = [`cri-${this.#tag}`, `kubelet-${this.#tag}`, `podnet/${this.#tag}`];
    for (const folder of folders.flatMap((name) => [path.join(dataDir, name), path.join(runtimeDir, name)])) {
      for (const mount of mountsBelow(folder)) unmount(mount, { lazy: true });
      await rm(folder, { recursive: true, force: true });
    }
  }
}
