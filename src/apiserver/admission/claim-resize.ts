import type { k8s } from "../../api/index.ts";
import { parseQuantityNano } from "../../base/index.ts";
import type { ClusterState } from "../cluster-state.ts";
import type { Admission } from "../machinery/pipeline.ts";
import { isResource, refuse } from "./plugin.ts";

type Claim = k8s.PersistentVolumeClaim;

const sizeOf = ({ spec }: Claim) => parseQuantityNano(spec?.resources?.requests?.["storage"] ?? "0");

/** Only a bound claim of a class that allows it may grow (PersistentVolumeClaimResize). */
export function claimResize(state: ClusterState): Admission {
  return {
    async validate(request) {
      if (request.operation !== "UPDATE" || request.subresource !== "") return;
      if (!isResource(request, "", "persistentvolumeclaims")) return;
      const [now, old] = [request.object as Claim, request.oldObject as Claim];
      if (sizeOf(now) <= sizeOf(old)) return;
      if (old.status?.phase !== "Bound") throw refuse(request, "Only bound persistent volume claims can be expanded");
      const name = now.spec?.storageClassName;
      const found = name ? await state.storageClasses.find(name) : undefined;
      if (found?.allowVolumeExpansion !== true)
        throw refuse(
          request,
          "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
        );
    },
  };
}
