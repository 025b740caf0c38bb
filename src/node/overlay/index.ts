export { Overlay, overlayLink } from "./overlay.ts";
export { clusterCidrs, MAX_LOCAL_NODES, overlayNode, podRanges, type ClusterRanges, type OverlayNode } from "./plan.ts";
export { overlayId, Underlay } from "./underlay.ts";
