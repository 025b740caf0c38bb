import type { k8s } from "../../../api/index.ts";
import { ageColumn, nameColumn, text } from "../shared/columns.ts";
import { invalid } from "../shared/field-errors.ts";
import type { GroupKinds } from "../shared/peculiarities.ts";

type Lease = k8s.Lease;

export const coordinationKinds: GroupKinds = {
  leases: {
    validate(object) {
      const duration = (object as Lease).spec?.leaseDurationSeconds;
      return duration !== undefined && duration <= 0
        ? [invalid("spec.leaseDurationSeconds", duration, "must be greater than 0")]
        : [];
    },
    columns: [nameColumn, text<Lease>("Holder", ({ spec }) => spec?.holderIdentity ?? ""), ageColumn],
  },
};
