import type { k8s } from "../../../api/index.ts";
import { ageColumn, integer, nameColumn, text } from "../shared/columns.ts";
import { invalid, oneOf } from "../shared/field-errors.ts";
import { validateIntOrPercent } from "../shared/int-or-percent.ts";
import { validateLabelSelector } from "../shared/object-meta.ts";
import type { GroupKinds } from "../shared/peculiarities.ts";

type Budget = k8s.PodDisruptionBudget;

export const policyKinds: GroupKinds = {
  poddisruptionbudgets: {
    shortNames: ["pdb"],
    hasGeneration: true,
    prepareForCreate(object) {
      object["status"] = { disruptionsAllowed: 0, currentHealthy: 0, desiredHealthy: 0, expectedPods: 0 };
    },
    validate(object) {
      const spec = (object as Budget).spec;
      if (spec?.minAvailable !== undefined && spec.maxUnavailable !== undefined)
        return [invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set")];
      return [
        ...validateIntOrPercent("spec.minAvailable", spec?.minAvailable),
        ...validateIntOrPercent("spec.maxUnavailable", spec?.maxUnavailable),
        ...validateLabelSelector(spec?.selector, "spec.selector"),
        ...oneOf("spec.unhealthyPodEvictionPolicy", spec?.unhealthyPodEvictionPolicy, [
          "AlwaysAllow",
          "IfHealthyBudget",
        ]),
      ];
    },
    columns: [
      nameColumn,
      text<Budget>("Min Available", ({ spec }) => String(spec?.minAvailable ?? "N/A")),
      text<Budget>("Max Unavailable", ({ spec }) => String(spec?.maxUnavailable ?? "N/A")),
      integer<Budget>("Allowed Disruptions", ({ status }) => status?.disruptionsAllowed ?? 0),
      ageColumn,
    ],
  },
};
