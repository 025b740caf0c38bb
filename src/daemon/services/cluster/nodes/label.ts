/** A node's number, on its Node: each other node knows by it how to reach its Pods. The machine's own node is 1 and has none. */
export const LOCAL_NODE_LABEL = "berth.dev/local-node";
