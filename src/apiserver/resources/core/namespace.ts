import type { k8s } from "../../../api/index.ts";
import { ageColumn, nameColumn, text } from "../shared/columns.ts";
import { isDns1123Label } from "../shared/names.ts";
import type { Peculiarities } from "../shared/peculiarities.ts";

type Namespace = k8s.Namespace;

/** Deleted in two steps: the namespace controller empties it, then takes the `kubernetes` finalizer off by the finalize subresource. */
export const namespace: Peculiarities = {
  shortNames: ["ns"],
  checkName: isDns1123Label,
  fillDefaults(object) {
    const { metadata } = object;
    if (metadata.name) (metadata.labels ??= {})["kubernetes.io/metadata.name"] = metadata.name;
  },
  prepareForCreate(object) {
    object["status"] = { phase: "Active" };
    const spec = ((object as Namespace).spec ??= {});
    if (!spec.finalizers?.includes("kubernetes")) spec.finalizers = [...(spec.finalizers ?? []), "kubernetes"];
  },
  prepareForUpdate(object, old, context) {
    // Only the namespace controller ends a namespace, by the finalize subresource.
    if (context.subresource === "") (object as Namespace).spec = (old as Namespace).spec;
    if (context.subresource === "finalize") (object as Namespace).status = (old as Namespace).status;
  },
  updateSubresources: ["finalize"],
  hasMoreFinalizers: (object) => ((object as Namespace).spec?.finalizers?.length ?? 0) > 0,
  prepareForDelete(object) {
    object["status"] = { ...(object as Namespace).status, phase: "Terminating" };
  },
  selectableFields: { "status.phase": (object) => (object as Namespace).status?.phase ?? "" },
  columns: [nameColumn, text<Namespace>("Status", ({ status }) => status?.phase ?? ""), ageColumn],
};
