import type { k8s } from "../../../api/index.ts";
import { validateRequirements } from "../core/pod-validation/compute.ts";
import { validateTolerations } from "../core/pod-validation/scheduling.ts";
import { ageColumn, nameColumn, text } from "../shared/columns.ts";
import { immutable, invalid } from "../shared/field-errors.ts";
import { isDns1123Label } from "../shared/names.ts";
import { validateLabels } from "../shared/object-meta.ts";
import type { GroupKinds } from "../shared/peculiarities.ts";

type Class = k8s.RuntimeClass;

export const nodeKinds: GroupKinds = {
  runtimeclasses: {
    validate(object) {
      const { handler, overhead, scheduling } = object as Class;
      return [
        ...isDns1123Label(handler ?? "").map((detail) => invalid("handler", handler, detail)),
        ...(overhead?.podFixed ? validateRequirements({ limits: overhead.podFixed }, "overhead.podFixed") : []),
        ...validateLabels(scheduling?.nodeSelector, "scheduling.nodeSelector"),
        ...validateTolerations(scheduling?.tolerations, "scheduling.tolerations"),
      ];
    },
    validateUpdate: (object, old) => immutable("handler", (object as Class).handler, (old as Class).handler),
    columns: [nameColumn, text<Class>("Handler", ({ handler }) => handler), ageColumn],
  },
};
