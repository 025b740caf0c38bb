import type { k8s, KubeObject } from "../../api/index.ts";
import type { Column } from "../machinery/kind.ts";
import { ageColumn, humanDuration, nameColumn } from "../resources/shared/columns.ts";
import { compileJsonPath } from "./json-path.ts";

/** `additionalPrinterColumns`; without any, the age. */
export function printerColumns(declared: readonly k8s.CustomResourceColumnDefinition[] | undefined): Column[] {
  if (declared === undefined || declared.length === 0) return [nameColumn, ageColumn];
  return [nameColumn, ...declared.map(printerColumn)];
}

function printerColumn({
  name,
  type,
  format,
  priority,
  jsonPath,
  description,
}: k8s.CustomResourceColumnDefinition): Column {
  const read = compileJsonPath(jsonPath);
  return {
    name,
    type: type as Column["type"],
    format,
    priority: priority ?? 0,
    description,
    cell: (object: KubeObject, nowMs: number) => render(read(object), type, nowMs),
  };
}

/** Values of another type than declared show as nothing, as upstream does it. */
function render(values: readonly unknown[], type: string, nowMs: number): unknown {
  const [value] = values;
  if (value === undefined || value === null) return null;
  switch (type) {
    case "integer":
      return typeof value === "number" ? Math.trunc(value) : null;
    case "number":
      return typeof value === "number" ? value : null;
    case "boolean":
      return typeof value === "boolean" ? value : null;
    case "date": {
      const time = typeof value === "string" ? Date.parse(value) : Number.NaN;
      return Number.isNaN(time) ? "<invalid>" : humanDuration(nowMs - time);
    }
    default:
      return values.map((item) => (typeof item === "string" ? item : JSON.stringify(item))).join(",");
  }
}
