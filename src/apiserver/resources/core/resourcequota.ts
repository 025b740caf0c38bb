import type { k8s } from "../../../api/index.ts";
import { ageColumn, nameColumn, text } from "../shared/columns.ts";
import type { Peculiarities } from "../shared/peculiarities.ts";
import { validateQuota, validateQuotaChange } from "./limits-validation.ts";

type ResourceQuota = k8s.ResourceQuota;

export const resourceQuota: Peculiarities = {
  shortNames: ["quota"],
  returnDeletedObject: true,
  validate: validateQuota,
  validateUpdate: (object, old, { subresource }) =>
    subresource === "status" ? [] : validateQuotaChange(object as ResourceQuota, old as ResourceQuota),
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
