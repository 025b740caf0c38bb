import type { k8s } from "../../api/index.ts";
import { nodeNameOf } from "../authz/node.ts";
import type { ClusterState } from "../cluster-state.ts";
import type { Admission, AdmissionRequest } from "../machinery/pipeline.ts";
import { isResource, refuse } from "./plugin.ts";

/** A kubelet changes only its own Node and the Pods bound to it (NodeRestriction). */
export function nodeRestriction(state: ClusterState): Admission {
  return {
    async validate(request) {
      const node = nodeNameOf(request.user);
      if (node === undefined) return;
      if (isResource(request, "", "nodes")) checkNode(request, node);
      else if (isResource(request, "", "pods")) await checkPod(state, request, node);
      else if (isResource(request, "coordination.k8s.io", "leases")) {
        if (request.namespace !== "kube-node-lease")
          throw refuse(request, 'can only access leases in the "kube-node-lease" system namespace');
        const name = request.operation === "CREATE" ? request.object?.metadata.name : request.name;
        if (name !== node)
          throw refuse(request, "can only access node lease with the same name as the requesting node");
      }
    },
  };
}

function checkNode(request: AdmissionRequest, node: string): void {
  const name = request.operation === "CREATE" ? request.object?.metadata.name : request.name;
  if (name !== node) throw refuse(request, `node "${node}" is not allowed to modify node "${name}"`);
  if (request.operation === "DELETE") throw refuse(request, `node "${node}" is not allowed to delete itself`);
  const labels = (object: unknown) => (object as k8s.Node | undefined)?.metadata.labels ?? {};
  const [now, old] = [labels(request.object), labels(request.oldObject)];
  const changed = [...new Set([...Object.keys(now), ...Object.keys(old)])].filter((key) => now[key] !== old[key]);
  const reserved = changed.filter((key) => /(^|\.)node-restriction\.kubernetes\.io\//.test(key));
  if (reserved.length > 0) throw refuse(request, `is not allowed to modify labels: ${reserved.sort().join(", ")}`);
  if (request.operation === "UPDATE") {
    const taints = (object: unknown) => JSON.stringify((object as k8s.Node | undefined)?.spec?.taints ?? []);
    if (taints(request.object) !== taints(request.oldObject))
      throw refuse(request, `node "${node}" is not allowed to modify taints`);
  }
}

async function checkPod(state: ClusterState, request: AdmissionRequest, node: string): Promise<void> {
  if (request.operation === "CREATE" && request.subresource === "") {
    const pod = request.object as k8s.Pod;
    if (pod.metadata.annotations?.["kubernetes.io/config.mirror"] === undefined)
      throw refuse(
        request,
        `pod does not have "kubernetes.io/config.mirror" annotation, node "${node}" can only create mirror pods`,
      );
    if (pod.spec?.nodeName !== node)
      throw refuse(request, `node "${node}" can only create pods with spec.nodeName set to itself`);
    return;
  }
  const pod = (request.oldObject ?? (await state.pods.find(`${request.namespace}/${request.name}`))) as
    | k8s.Pod
    | undefined;
  if (pod !== undefined && pod.spec?.nodeName !== node)
    throw refuse(request, `node "${node}" can only update pod status for pods with spec.nodeName set to itself`);
}
