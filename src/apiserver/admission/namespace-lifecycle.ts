import type { ClusterState } from "../cluster-state.ts";
import type { Admission, AdmissionRequest } from "../machinery/pipeline.ts";
import { forbiddenError, notFoundError, statusError } from "../machinery/status.ts";
import { refuse } from "./plugin.ts";

const immortal = new Set(["default", "kube-system", "kube-public"]);

/** Nothing is made in a namespace that is missing or going; some namespaces never go. */
export function namespaceLifecycle(state: ClusterState): Admission {
  return {
    // First of all, so that a missing namespace is what is told of, and not what misses in it.
    async mutate(request) {
      const { operation, resource, name, namespace } = request;
      if (resource.group === "" && resource.resource === "namespaces") {
        if (operation === "DELETE" && immortal.has(name))
          throw forbiddenError({ group: "", plural: "namespaces" }, name, "this namespace may not be deleted");
        return;
      }
      if (operation !== "CREATE" || namespace === "" || resource.group === "authorization.k8s.io") return;
      await assertLiving(state, request);
    },
  };
}

async function assertLiving(state: ClusterState, request: AdmissionRequest): Promise<void> {
  const { namespace } = request;
  const found = state.namespaces.now?.get(namespace) ?? (await state.namespaces.find(namespace));
  if (found === undefined) throw notFoundError({ group: "", plural: "namespaces" }, namespace);
  if (found.metadata.deletionTimestamp === undefined) return;
  const why = `unable to create new content in namespace ${namespace} because it is being terminated`;
  const plain = refuse(request, why).details["status"] as { message: string; details: object };
  throw statusError("permissionDenied", {
    ...plain,
    details: {
      ...plain.details,
      causes: [
        {
          reason: "NamespaceTerminating",
          message: `namespace ${namespace} is being terminated`,
          field: "metadata.namespace",
        },
      ],
    },
  });
}
