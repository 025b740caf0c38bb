import type { k8s } from "../../../api/index.ts";
import { ageColumn, nameColumn, orNone, text, wide } from "../shared/columns.ts";
import { validateNode, validateNodeChange } from "./node-validation.ts";
import type { Peculiarities } from "../shared/peculiarities.ts";

type Node = k8s.Node;

export const node: Peculiarities = {
  shortNames: ["no"],
  // A node that registers may bring its status with it.
  bringsStatus: true,
  prepareForCreate(object) {
    object["status"] ??= {};
  },
  validate: validateNode,
  validateUpdate: (object, old) => validateNodeChange(object as Node, old as Node),
  selectableFields: { "spec.unschedulable": (object) => String((object as Node).spec?.unschedulable ?? false) },
  columns: [
    nameColumn,
    text<Node>("Status", statusOf),
    text<Node>("Roles", rolesOf),
    ageColumn,
    text<Node>("Version", ({ status }) => status?.nodeInfo?.kubeletVersion ?? ""),
    wide(text<Node>("Internal-IP", (object) => addressOf(object, "InternalIP"))),
    wide(text<Node>("External-IP", (object) => addressOf(object, "ExternalIP"))),
    wide(text<Node>("OS-Image", ({ status }) => status?.nodeInfo?.osImage || "<unknown>")),
    wide(text<Node>("Kernel-Version", ({ status }) => status?.nodeInfo?.kernelVersion || "<unknown>")),
    wide(text<Node>("Container-Runtime", ({ status }) => status?.nodeInfo?.containerRuntimeVersion || "<unknown>")),
  ],
};

function statusOf({ spec, status }: Node): string {
  const ready = status?.conditions?.find(({ type }) => type === "Ready");
  const words = [ready === undefined ? "Unknown" : ready.status === "True" ? "Ready" : "NotReady"];
  if (spec?.unschedulable === true) words.push("SchedulingDisabled");
  return words.join(",");
}

const rolePrefix = "node-role.kubernetes.io/";

function rolesOf({ metadata }: Node): string {
  const roles = new Set<string>();
  for (const [key, value] of Object.entries(metadata.labels ?? {})) {
    if (key.startsWith(rolePrefix) && key.length > rolePrefix.length) roles.add(key.slice(rolePrefix.length));
    else if (key === "kubernetes.io/role" && value !== "") roles.add(value);
  }
  return orNone([...roles].sort().join(","));
}

const addressOf = ({ status }: Node, type: string): string =>
  orNone(status?.addresses?.find((address) => address.type === type)?.address ?? "");
