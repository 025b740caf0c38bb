import type { k8s } from "../../../api/index.ts";
import { ageColumn, nameColumn, text } from "../shared/columns.ts";
import { immutable } from "../shared/field-errors.ts";
import type { GroupKinds } from "../shared/peculiarities.ts";
import { validateSlice } from "./slice-validation.ts";

type Slice = k8s.EndpointSlice;
const shownAtMost = 3;

export const discoveryKinds: GroupKinds = {
  endpointslices: {
    hasGeneration: true,
    fillDefaults(object) {
      for (const port of (object as Slice).ports ?? []) {
        port.protocol ??= "TCP";
        port.name ??= "";
      }
    },
    validate: validateSlice,
    validateUpdate: (object, old) => [
      ...immutable("addressType", (object as Slice).addressType, (old as Slice).addressType),
      ...validateSlice(object),
    ],
    columns: [
      nameColumn,
      text<Slice>("AddressType", ({ addressType }) => addressType),
      text<Slice>("Ports", ({ ports }) =>
        limited((ports ?? []).map(({ port, name }) => (port === undefined ? name || "*" : String(port)))),
      ),
      text<Slice>("Endpoints", ({ endpoints }) => limited((endpoints ?? []).flatMap(({ addresses }) => addresses))),
      ageColumn,
    ],
  },
};

function limited(values: readonly string[]): string {
  if (values.length === 0) return "<unset>";
  const more = values.length - shownAtMost;
  return values.slice(0, shownAtMost).join(",") + (more > 0 ? ` + ${more} more...` : "");
}
