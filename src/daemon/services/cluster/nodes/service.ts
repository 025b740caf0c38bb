import type { Cluster } from "../../../../apiserver/index.ts";
import { invalidArgument, notFound } from "../../../../base/index.ts";
import { resources, type InformerFactory } from "../../../../client/index.ts";
import type { Engine } from "../../../../engine/index.ts";
import { networkOfHost } from "../../../../host/index.ts";
import { Overlay, overlayId, overlayNode, Underlay } from "../../../../node/index.ts";
import type { DaemonContext } from "../../../context.ts";
import type { Service } from "../../../supervisor.ts";
import type { ControlRequest } from "../../../control-handler.ts";
import type { ClusterSettings } from "../settings.ts";
import type { AgentSwitch } from "./agent-switch.ts";
import { KINDS_OF_RULES } from "./node-rules.ts";
import { ImageSource } from "./image-source.ts";
import type { MachineSize } from "./node-machine.ts";
import type { OpenVms } from "../../vm-api.ts";
import type { OpenRegistry } from "../../registry.ts";
import { LocalNodes } from "./local-nodes.ts";
import type { Roster } from "./roster.ts";

export interface LocalNodesServices {
  readonly engine: Service<Engine>;
  readonly api: Service<Cluster>;
  readonly informers: Service<InformerFactory>;
  readonly kubelet: Service<AgentSwitch>;
  readonly vms: Service<OpenVms>;
  readonly registry: Service<OpenRegistry>;
  /** The address of the machine's own node, at which others ask for images, is there with it. */
  readonly network: Service<unknown>;
}

/** The instance's nodes beside the machine's own, and what `berth node` asks for. */
export function localNodesService(
  context: DaemonContext,
  services: LocalNodesServices,
  settings: ClusterSettings,
  roster: Roster,
): Service<LocalNodes> {
  const { engine, api, informers, kubelet, vms, registry, network } = services;
  return {
    name: "local-nodes",
    dependsOn: [engine, api, informers, kubelet, vms, registry, network],
    async start(use) {
      const factory = use(informers);
      const stop = new AbortController();
      const needed = KINDS_OF_RULES.map((kind) => factory.for<object>(resources[kind] as never));
      factory.start(stop.signal);
      await Promise.all(needed.map((informer) => informer.whenSynced()));
      const ctx = { ...context, log: context.log.with({ service: "local-nodes" }) };
      const own = overlayNode(settings.ranges, 1);
      const images = new ImageSource(ctx, use(registry), use(api).certificates, settings.gateway);
      const parts = {
        cluster: use(api),
        images,
        vms: use(vms),
        engine: use(engine),
        client: use(api).client,
        informers: factory,
        underlay: new Underlay(ctx, settings.ranges),
        roster,
        machine: use(kubelet),
        link: new Overlay(ctx, { id: overlayId(context.instance), own, hosts: networkOfHost() }),
      };
      const nodes = new LocalNodes(ctx, parts, settings);
      await nodes.open(context.config.nodes ?? 1);
      context.control.set("nodes", (request) => answer(nodes, request));
      return {
        value: nodes,
        drain: () => nodes.drain(),
        stop: async () => {
          context.control.delete("nodes");
          await nodes.close();
          await images.close();
          stop.abort();
        },
      };
    },
  };
}

/** `GET /nodes`, `POST /nodes?count=N` (with `cpus` and `memory`: virtual machines), `POST /nodes?joining=1`, `DELETE /nodes/NAME`, `POST /nodes/NAME/start`, `POST /nodes/NAME/stop?silent=1`. */
async function answer(nodes: LocalNodes, { method, path: [name, verb], query }: ControlRequest): Promise<unknown> {
  if (method === "GET" && name === undefined) return nodes.list();
  if (method === "POST" && name === undefined && query.get("joining") === "1") return nodes.addJoining();
  if (method === "POST" && name === undefined) return nodes.add(countOf(query.get("count") ?? "1"), sizeOf(query));
  if (method === "DELETE" && name !== undefined && verb === undefined) return nodes.remove(name);
  if (method === "POST" && name !== undefined && verb === "start") return nodes.start(name);
  if (method === "POST" && name !== undefined && verb === "stop") return nodes.stop(name, query.get("silent") === "1");
  throw notFound("page not found");
}

function countOf(text: string): number {
  if (/^[1-9]\d?$/.test(text)) return Number(text);
  throw invalidArgument(`${JSON.stringify(text)} is no number of nodes`);
}

function sizeOf(query: URLSearchParams): MachineSize | undefined {
  const [cpus, memoryBytes] = [Number(query.get("cpus")), Number(query.get("memory"))];
  return cpus > 0 && memoryBytes > 0 ? { cpus, memoryBytes } : undefined;
}
