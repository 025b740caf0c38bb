import type { k8s } from "../../../api/index.ts";
import { ageColumn, nameColumn, text } from "../shared/columns.ts";
import { immutable } from "../shared/field-errors.ts";
import type { GroupKinds } from "../shared/peculiarities.ts";

type Claim = k8s.ResourceClaim;
type Slice = k8s.ResourceSlice;

export const resourceKinds: GroupKinds = {
  deviceclasses: { hasGeneration: true, columns: [nameColumn, ageColumn] },
  resourceclaims: {
    validateUpdate: (object, old) => immutable("spec", (object as Claim).spec, (old as Claim).spec),
    columns: [nameColumn, text<Claim>("State", stateOf), ageColumn],
  },
  resourceclaimtemplates: { columns: [nameColumn, ageColumn] },
  resourceslices: {
    hasGeneration: true,
    selectableFields: {
      "spec.nodeName": (object) => (object as Slice).spec?.nodeName ?? "",
      "spec.driver": (object) => (object as Slice).spec?.driver ?? "",
    },
    columns: [
      nameColumn,
      text<Slice>("Node", ({ spec }) => spec?.nodeName || "<unset>"),
      text<Slice>("Driver", ({ spec }) => spec?.driver ?? ""),
      text<Slice>("Pool", ({ spec }) => spec?.pool.name ?? ""),
      ageColumn,
    ],
  },
};

function stateOf({ metadata, status }: Claim): string {
  const states = [];
  if (metadata.deletionTimestamp !== undefined) states.push("deleted");
  if (status?.allocation === undefined) states.push(metadata.deletionTimestamp === undefined ? "pending" : undefined);
  else states.push("allocated");
  if ((status?.reservedFor?.length ?? 0) > 0) states.push("reserved");
  return states.filter((state) => state !== undefined).join(",");
}
