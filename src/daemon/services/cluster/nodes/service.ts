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
import { LocalNodes } from "./local-nodes.ts";
import type { Roster } from "./roster.ts";

export interface LocalNodesServices {
  readonly engine: Service<Engine>;
  readonly api: Service<Cluster>;
  readonly informers: Service<InformerFactory>;
  readonly kubelet: Service<AgentSwitch>;
}

/** The instance's nodes beside the machine's own, and what `berth node` asks for. */
export function localNodesService(
  context: DaemonContext,
  services: LocalNodesServices,
  settings: ClusterSettings,
  roster: Roster,
): Service<LocalNodes> {
  const { engine, api, informers, kubelet } = services;
  return {
    name: "local-nodes",
    dependsOn: [engine, api, informers, kubelet],
    async start(use) {
      const factory = use(informers);
      const stop = new AbortController();
      const kinds = ["services", "endpointSlices", "networkPolicies", "pods", "namespaces"] as const;
      const needed = kinds.map((kind) => factory.for<object>(resources[kind] as never));
      factory.start(stop.signal);
      await Promise.all(needed.map((informer) => informer.whenSynced()));
      const ctx = { ...context, log: context.log.with({ service: "local-nodes" }) };
      const own = overlayNode(settings.ranges, 1);
      const parts = {
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
          stop.abort();
        },
      };
    },
  };
}

/** `GET /nodes`, `POST /nodes?count=N`, `DELETE /nodes/NAME`, `POST /nodes/NAME/start`, `POST /nodes/NAME/stop?silent=1`. */
async function answer(nodes: LocalNodes, { method, path: [name, verb], query }: ControlRequest): Promise<unknown> {
  if (method === "GET" && name === undefined) return nodes.list();
  if (method === "POST" && name === undefined) return nodes.add(countOf(query.get("count") ?? "1"));
  if (method === "DELETE" && name !== undefined && verb === undefined) return nodes.remove(name);
  if (method === "POST" && name !== undefined && verb === "start") return nodes.start(name);
  if (method === "POST" && name !== undefined && verb === "stop") return nodes.stop(name, query.get("silent") === "1");
  throw notFound("page not found");
}

function countOf(text: string): number {
  if (/^[1-9]\d?$/.test(text)) return Number(text);
  throw invalidArgument(`${JSON.stringify(text)} is no number of nodes`);
}
