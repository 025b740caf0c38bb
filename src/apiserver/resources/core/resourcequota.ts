import type { k8s } from "../../../api/index.ts";
import { ageColumn, nameColumn, text } from "../shared/columns.ts";
import type { Peculiarities } from "../shared/peculiarities.ts";
import { validateQuantity } from "../shared/checks.ts";

type ResourceQuota = k8s.ResourceQuota;

export const resourceQuota: Peculiarities = {
  shortNames: ["quota"],
  returnDeletedObject: true,
  validate: (object) =>
    Object.entries((object as ResourceQuota).spec?.hard ?? {}).flatMap(([name, quantity]) =>
      validateQuantity(`spec.hard[${name}]`, quantity),
    ),
  columns: [
    nameColumn,
    text<ResourceQuota>("Request", (object) => format(object, (name) => !name.startsWith("limits."))),
    text<ResourceQuota>("Limit", (object) => format(object, (name) => name.startsWith("limits."))),
    ageColumn,
  ],
};

function format({ spec, status }: ResourceQuota, wanted: (name: string) => boolean): string {
  return Object.keys(spec?.hard ?? {})
    .filter(wanted)
    .sort()
    .map((name) => `${name}: ${status?.used?.[name] ?? "0"}/${spec!.hard![name]}`)
    .join(", ");
}
