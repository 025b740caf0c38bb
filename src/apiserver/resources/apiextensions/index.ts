import { createdAtColumn, nameColumn } from "../shared/columns.ts";
import type { GroupKinds } from "../shared/peculiarities.ts";

export const apiextensionsKinds: GroupKinds = {
  customresourcedefinitions: {
    shortNames: ["crd", "crds"],
    categories: ["api-extensions"],
    hasGeneration: true,
    columns: [nameColumn, createdAtColumn],
  },
};
