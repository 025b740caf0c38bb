import type { k8s } from "../../../api/index.ts";
import { ageColumn, nameColumn, text } from "../shared/columns.ts";
import { deepEqual, immutable } from "../shared/field-errors.ts";
import type { GroupKinds } from "../shared/peculiarities.ts";
import { validateClaimStatus } from "./properties.ts";
import { defaultClaim, validateClaimSpec, validateClassSpec, validateSliceSpec } from "./validation.ts";

type Claim = k8s.ResourceClaim;
type Template = k8s.ResourceClaimTemplate;
type Slice = k8s.ResourceSlice;

const expressions = () => import("./selectors.ts");
const hasSelectors = (spec: k8s.ResourceClaimSpec | undefined): boolean =>
  (spec?.devices?.requests ?? []).some(({ exactly, firstAvailable = [] }) =>
    [exactly, ...firstAvailable].some((request) => (request?.selectors ?? []).length > 0),
  );

export const resourceKinds: GroupKinds = {
  deviceclasses: {
    hasGeneration: true,
    validate: (object) => validateClassSpec((object as k8s.DeviceClass).spec),
    async validateExpressions(object, old) {
      const { selectors = [] } = (object as k8s.DeviceClass).spec;
      if (selectors.length === 0 || deepEqual(selectors, (old as k8s.DeviceClass | undefined)?.spec.selectors))
        return [];
      return (await expressions()).validateSelectorExpressions(selectors, "spec.selectors");
    },
    columns: [nameColumn, ageColumn],
  },
  resourceclaims: {
    fillDefaults: (object) => defaultClaim((object as Claim).spec),
    validate: (object) => validateClaimSpec((object as Claim).spec, "spec"),
    validateUpdate: (object, old, { subresource }) =>
      subresource === "status"
        ? validateClaimStatus(object as Claim, old as Claim)
        : immutable("spec", (object as Claim).spec, (old as Claim).spec),
    validateExpressions: async (object, old) =>
      old === undefined && hasSelectors((object as Claim).spec)
        ? (await expressions()).validateClaimExpressions((object as Claim).spec, "spec")
        : [],
    columns: [nameColumn, text<Claim>("State", stateOf), ageColumn],
  },
  resourceclaimtemplates: {
    fillDefaults: (object) => defaultClaim((object as Template).spec?.spec),
    validate: (object) => validateClaimSpec((object as Template).spec?.spec, "spec.spec"),
    validateUpdate: (object, old) => immutable("spec", (object as Template).spec, (old as Template).spec),
    validateExpressions: async (object, old) =>
      old === undefined && hasSelectors((object as Template).spec?.spec)
        ? (await expressions()).validateClaimExpressions((object as Template).spec.spec, "spec.spec")
        : [],
    columns: [nameColumn, ageColumn],
  },
  resourceslices: {
    hasGeneration: true,
    validate: (object) => validateSliceSpec((object as Slice).spec),
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
