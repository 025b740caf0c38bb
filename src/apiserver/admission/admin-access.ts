import type { k8s } from "../../api/index.ts";
import type { ClusterState } from "../cluster-state.ts";
import { forbidden } from "../resources/shared/field-errors.ts";
import type { Admission } from "../machinery/pipeline.ts";
import { invalidError } from "../machinery/status.ts";
import { isResource } from "./plugin.ts";

const LABEL = "resource.kubernetes.io/admin-access";
const WHY = `admin access to devices requires the \`${LABEL}: true\` label on the containing namespace`;

/** Devices that others use are looked at from namespaces alone that an administrator has marked for it. */
export function adminAccess(state: ClusterState): Admission {
  return {
    async validate(request) {
      const isTemplate = isResource(request, "resource.k8s.io", "resourceclaimtemplates");
      if (request.operation !== "CREATE" || request.subresource !== "") return;
      if (!isTemplate && !isResource(request, "resource.k8s.io", "resourceclaims")) return;
      const spec = isTemplate
        ? (request.object as k8s.ResourceClaimTemplate).spec.spec
        : (request.object as k8s.ResourceClaim).spec;
      const at = isTemplate ? "spec.spec" : "spec";
      const asking = (spec?.devices?.requests ?? []).flatMap(({ exactly }, index) =>
        exactly?.adminAccess === true ? [`${at}.devices.requests[${index}].exactly.adminAccess`] : [],
      );
      if (asking.length === 0) return;
      const namespace = await state.namespaces.find(request.namespace);
      if (namespace?.metadata.labels?.[LABEL] === "true") return;
      throw invalidError(
        request.kind,
        request.name,
        asking.map((field) => forbidden(field, WHY)),
      );
    },
  };
}
