import type { k8s } from "../../../api/index.ts";
import { createdAtColumn, nameColumn } from "../shared/columns.ts";
import { validateLimitRange } from "./limits-validation.ts";
import type { Peculiarities } from "../shared/peculiarities.ts";

type LimitRange = k8s.LimitRange;

export const limitRange: Peculiarities = {
  shortNames: ["limits"],
  /** A maximum is the default limit, and a limit the default request, where nothing closer is said. */
  fillDefaults(object) {
    for (const item of (object as LimitRange).spec?.limits ?? []) {
      if (item.type !== "Container") continue;
      item.default = { ...item.max, ...item.default };
      item.defaultRequest = { ...item.min, ...item.default, ...item.defaultRequest };
      if (Object.keys(item.default).length === 0) delete item.default;
      if (Object.keys(item.defaultRequest).length === 0) delete item.defaultRequest;
    }
  },
  validate: validateLimitRange,
  columns: [nameColumn, createdAtColumn],
};
