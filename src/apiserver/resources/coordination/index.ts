import type { k8s } from "../../../api/index.ts";
import { ageColumn, nameColumn, text } from "../shared/columns.ts";
import { invalid, nonNegative } from "../shared/field-errors.ts";
import type { GroupKinds } from "../shared/peculiarities.ts";

type Lease = k8s.Lease;

export const coordinationKinds: GroupKinds = {
  leases: {
    validate(object) {
      const { leaseDurationSeconds: duration, leaseTransitions } = (object as Lease).spec ?? {};
      return [
        ...(duration !== undefined && duration <= 0
          ? [invalid("spec.leaseDurationSeconds", duration, "must be greater than 0")]
          : []),
        ...nonNegative("spec.leaseTransitions", leaseTransitions),
      ];
    },
    columns: [nameColumn, text<Lease>("Holder", ({ spec }) => spec?.holderIdentity ?? ""), ageColumn],
  },
};
