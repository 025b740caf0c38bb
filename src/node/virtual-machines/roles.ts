import type { k8s } from "../../api/index.ts";
import { GROUP } from "./types.ts";

const PLURALS = ["virtualmachines", "virtualmachinesnapshots", "virtualmachinebackups"];
const EVERYTHING = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const READING = ["get", "list", "watch"];

/**
 * Who may see a namespace sees its machines: that role is part of `view`. Making machines is not part of `edit`: a machine's disk may be any file of its host, so
 * who may make one is for the cluster's administrator to say, by binding the other role.
 */
export function vmRoles(): k8s.ClusterRole[] {
  return [
    role("view", READING, { "rbac.authorization.k8s.io/aggregate-to-view": "true" }),
    role("edit", EVERYTHING, {}),
  ];
}

function role(name: string, verbs: string[], labels: Record<string, string>): k8s.ClusterRole {
  return {
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "ClusterRole",
    metadata: { name: `${GROUP}:${name}`, labels },
    rules: [
      { apiGroups: [GROUP], resources: PLURALS, verbs },
      { apiGroups: [GROUP], resources: ["virtualmachineinstancetypes"], verbs: READING },
    ],
  };
}
