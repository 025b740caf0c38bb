import { InformerFactory, KubeClient, remoteApi } from "../../../client/index.ts";
import type { DaemonContext } from "../../context.ts";
import type { Credentials, JoinFile } from "../../join.ts";
import type { Service } from "../../supervisor.ts";

/** The cluster that this berth is a node of. */
export interface ClusterConnection {
  /** Acts as the node. */
  readonly node: KubeClient;
  /** What the node's network is made from: Services, endpoints, Nodes, policies, Pods. */
  readonly informers: InformerFactory;
}

export function connectionService(context: DaemonContext, join: JoinFile): Service<ClusterConnection> {
  return {
    name: "cluster-connection",
    dependsOn: [],
    async start() {
      const { server, authority } = join;
      const connect = ({ cert, key }: Credentials) => remoteApi({ server, authority, cert, key });
      const [node, network] = [connect(join.kubelet), connect(join.network)];
      const log = context.log.with({ service: "cluster-connection" });
      const client = new KubeClient(network.handler, { userAgent: "berth-node" });
      const informers = new InformerFactory({ ...context, client, log });
      const stop = new AbortController();
      informers.start(stop.signal);
      return {
        value: { node: new KubeClient(node.handler, { userAgent: "kubelet/v1.34.2 berth" }), informers },
        stop: () => {
          stop.abort();
          node.close();
          network.close();
        },
      };
    },
  };
}
