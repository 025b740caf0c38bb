import type { k8s } from "../../../api/index.ts";
import { ageColumn, nameColumn, text } from "../shared/columns.ts";
import { immutable, invalid } from "../shared/field-errors.ts";
import { isDns1123Label } from "../shared/names.ts";
import type { GroupKinds } from "../shared/peculiarities.ts";

type Class = k8s.RuntimeClass;

export const nodeKinds: GroupKinds = {
  runtimeclasses: {
    validate: (object) =>
      isDns1123Label((object as Class).handler ?? "").map((detail) =>
        invalid("handler", (object as Class).handler, detail),
      ),
    validateUpdate: (object, old) => immutable("handler", (object as Class).handler, (old as Class).handler),
    columns: [nameColumn, text<Class>("Handler", ({ handler }) => handler), ageColumn],
  },
};
