import type { k8s } from "../../../api/index.ts";
import { ageColumn, integer, nameColumn, text } from "../shared/columns.ts";
import type { GroupKinds } from "../shared/peculiarities.ts";
import { daemonSet } from "./daemonset.ts";
import { deployment } from "./deployment.ts";
import { replicaSet } from "./replicaset.ts";
import { statefulSet } from "./statefulset.ts";

function controllerOf({ metadata }: k8s.ControllerRevision): string {
  const owner = metadata.ownerReferences?.find(({ controller }) => controller === true);
  if (owner === undefined) return "<none>";
  const group = owner.apiVersion.includes("/") ? `.${owner.apiVersion.split("/")[0]}` : "";
  return `${owner.kind.toLowerCase()}${group}/${owner.name}`;
}

export const appsKinds: GroupKinds = {
  controllerrevisions: {
    columns: [
      nameColumn,
      text<k8s.ControllerRevision>("Controller", controllerOf),
      integer<k8s.ControllerRevision>("Revision", ({ revision }) => revision),
      ageColumn,
    ],
  },
  daemonsets: daemonSet,
  deployments: deployment,
  replicasets: replicaSet,
  statefulsets: statefulSet,
};
