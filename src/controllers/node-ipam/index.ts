import type { k8s } from "../../api/index.ts";
import { resources, type Stored } from "../../client/index.ts";
import { ipv4Range, ipv4Text } from "../common/index.ts";
import type { Controller } from "../controller.ts";

type Node = Stored<k8s.Node>;

/** Upstream's node-cidr-mask-size. */
const NODE_PREFIX = 24;

/** The first /24 of the cluster's range that no node has; undefined when none is left. */
export function freePodCidr(clusterCidr: string, nodes: readonly k8s.Node[]): string | undefined {
  const range = ipv4Range(clusterCidr);
  if (!range) return undefined;
  const taken = new Set(nodes.flatMap(({ spec }) => spec?.podCIDRs ?? (spec?.podCIDR ? [spec.podCIDR] : [])));
  const step = 2 ** (32 - NODE_PREFIX);
  for (let first = range.first; first + step <= range.first + range.size; first += step) {
    const cidr = `${ipv4Text(first)}/${NODE_PREFIX}`;
    if (!taken.has(cidr)) return cidr;
  }
  return undefined;
}

/** Gives each node that comes without one a part of the Pod network. Does nothing where the settings name no `podCidr`. */
export const nodeIpamController: Controller = {
  name: "node-ipam-controller",
  serviceAccount: "node-controller",
  component: "cidrAllocator",
  // One at a time: two nodes must not get one range.
  workers: 1,
  setup(context) {
    const nodes = context.informer(resources.nodes);
    const needsOne = (node: Node) => !node.spec?.podCIDR && !node.metadata.deletionTimestamp;
    const consider = (node: Node) => needsOne(node) && context.enqueue(node.metadata.name);
    nodes.onChange({
      added: consider,
      updated: consider,
      // A range has become free.
      deleted: () => nodes.list().forEach(consider),
    });
    /** Given out here, whether or not the informer shows it yet. */
    const given = new Map<string, Node>();
    return {
      async reconcile(name, signal) {
        const { podCidr } = context.settings;
        const node = nodes.get(name);
        if (!podCidr || !node || !needsOne(node)) return;
        for (const [other, last] of given)
          if (nodes.get(other)?.metadata.uid !== last.metadata.uid) given.delete(other);
        const cidr = freePodCidr(podCidr, [...nodes.values(), ...given.values()]);
        if (!cidr) {
          const message = `Node ${name} status is now: CIDRNotAvailable`;
          context.events.event(node, "Normal", "CIDRNotAvailable", message);
          return;
        }
        const spec = { ...node.spec, podCIDR: cidr, podCIDRs: [cidr] };
        given.set(name, await context.client.of(resources.nodes).update({ ...node, spec }, { signal }));
      },
    };
  },
};
