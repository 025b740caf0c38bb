import type { Cluster } from "../../../../apiserver/index.ts";
import { hasCode } from "../../../../base/index.ts";
import { resources, type KubeClient } from "../../../../client/index.ts";
import { overlayId, overlayNode } from "../../../../node/index.ts";
import type { DaemonContext } from "../../../context.ts";
import type { JoinFile } from "../../../join.ts";
import type { ClusterSettings } from "../settings.ts";
import type { ImageSource } from "./image-source.ts";
import type { RosterEntry } from "./roster.ts";

const AGENTS = "berth:node-agents";
const CERTIFICATE_MS = 365 * 86_400_000;
/** What a node's network is made from. The rest of what a node may is upstream's, by the Node authorizer. */
const RULES = [
  { apiGroups: [""], resources: ["services", "nodes", "pods", "namespaces"] },
  { apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"] },
  { apiGroups: ["networking.k8s.io"], resources: ["networkpolicies"] },
].map((rule) => ({ ...rule, verbs: ["get", "list", "watch"] }));

/** Makes what another berth becomes this node by: its certificates, and where everything is. */
export async function invite(
  context: DaemonContext,
  { client, certificates, listener }: Cluster,
  images: ImageSource,
  { name, index }: RosterEntry,
  settings: ClusterSettings,
): Promise<JoinFile> {
  await allowAgents(client);
  const { underlay, underlay6 } = overlayNode(settings.ranges, index);
  const nowMs = context.clock.nowMs();
  const node = { commonName: `system:node:${name}`, organizations: ["system:nodes"] };
  return {
    version: 1,
    node: name,
    index,
    server: `https://${settings.gateway}:${listener.port}`,
    authority: certificates.authority.pair.cert,
    kubelet: certificates.issueClient(node),
    network: certificates.issueClient({ commonName: `berth:node:${name}`, organizations: [AGENTS] }),
    serving: certificates.authority.issue({
      subject: node,
      usages: ["server"],
      names: [name, underlay, ...(underlay6 ? [underlay6] : [])],
      notBeforeMs: nowMs,
      notAfterMs: nowMs + CERTIFICATE_MS,
    }),
    registry: await images.open(),
    overlayId: overlayId(context.instance),
    settings,
  };
}

async function allowAgents(client: KubeClient): Promise<void> {
  const known = (error: unknown) => {
    if (!hasCode(error, "alreadyExists")) throw error;
  };
  const roleRef = { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: AGENTS };
  const subjects = [{ apiGroup: "rbac.authorization.k8s.io", kind: "Group", name: AGENTS }];
  await client
    .of(resources.clusterRoles)
    .create({ metadata: { name: AGENTS }, rules: RULES })
    .catch(known);
  await client
    .of(resources.clusterRoleBindings)
    .create({ metadata: { name: AGENTS }, roleRef, subjects })
    .catch(known);
}
