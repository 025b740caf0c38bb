import type { k8s } from "../../../api/index.ts";
import { ageColumn, boolean, integer, nameColumn, text } from "../shared/columns.ts";
import type { GroupKinds } from "../shared/peculiarities.ts";
import { validatePriorityClass, validatePriorityClassChange } from "./validation.ts";

type Class = k8s.PriorityClass;

export const schedulingKinds: GroupKinds = {
  priorityclasses: {
    shortNames: ["pc"],
    hasGeneration: true,
    fillDefaults: (object) => {
      (object as Class).preemptionPolicy ??= "PreemptLowerPriority";
    },
    validate: validatePriorityClass,
    validateUpdate: (object, old) => validatePriorityClassChange(object as Class, old as Class),
    columns: [
      nameColumn,
      integer<Class>("Value", ({ value }) => value),
      boolean<Class>("Global-Default", ({ globalDefault }) => globalDefault ?? false),
      ageColumn,
      text<Class>("PreemptionPolicy", ({ preemptionPolicy }) => preemptionPolicy ?? ""),
    ],
  },
};
