import type { k8s } from "../../../api/index.ts";
import { ageColumn, boolean, integer, nameColumn, text } from "../shared/columns.ts";
import { forbidden, invalid } from "../shared/field-errors.ts";
import type { GroupKinds } from "../shared/peculiarities.ts";

type Class = k8s.PriorityClass;
/** Above it is the system's. */
const highestUserPriority = 1_000_000_000;

export const schedulingKinds: GroupKinds = {
  priorityclasses: {
    shortNames: ["pc"],
    hasGeneration: true,
    fillDefaults: (object) => {
      (object as Class).preemptionPolicy ??= "PreemptLowerPriority";
    },
    validate(object) {
      const { metadata, value } = object as Class;
      if (metadata.name?.startsWith("system-")) {
        const known = { "system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000 }[
          metadata.name
        ];
        if (known === value) return [];
        return [
          invalid(
            "metadata.name",
            metadata.name,
            "priority class names with 'system-' prefix are reserved for system use only",
          ),
        ];
      }
      if (value <= highestUserPriority) return [];
      return [forbidden("value", `maximum allowed value of a user defined priority is ${highestUserPriority}`)];
    },
    validateUpdate: (object, old) =>
      (object as Class).value === (old as Class).value ? [] : [forbidden("value", "may not be changed in an update.")],
    columns: [
      nameColumn,
      integer<Class>("Value", ({ value }) => value),
      boolean<Class>("Global-Default", ({ globalDefault }) => globalDefault ?? false),
      ageColumn,
      text<Class>("PreemptionPolicy", ({ preemptionPolicy }) => preemptionPolicy ?? ""),
    ],
  },
};
