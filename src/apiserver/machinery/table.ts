import type { KubeObject, ListMeta } from "../../api/index.ts";
import type { Column, Kind } from "./kind.ts";
import { badRequestError } from "./status.ts";

/** metav1.Table: what kubectl prints. https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables */
export type IncludeObject = "None" | "Metadata" | "Object";

export const DEFAULT_COLUMNS: readonly Column[] = [
  { name: "Name", type: "string", format: "name", cell: (object) => object.metadata.name },
  { name: "Created At", type: "date", cell: (object) => object.metadata.creationTimestamp },
];

export function includeObject(query: URLSearchParams): IncludeObject {
  const value = query.get("includeObject") ?? "Metadata";
  if (value === "None" || value === "Metadata" || value === "Object") return value;
  throw badRequestError(`unrecognized includeObject value: "${value}"`);
}

export function columnsOf(kind: Kind): readonly Column[] {
  return kind.strategy.columns ?? DEFAULT_COLUMNS;
}

function columnDefinitions(columns: readonly Column[]): unknown[] {
  return columns.map(({ name, type, format = "", description = "", priority = 0 }) => ({
    name,
    type,
    format,
    description,
    priority,
  }));
}

export function makeTable(
  columns: readonly Column[],
  objects: readonly KubeObject[],
  options: { metadata: ListMeta; version: string; include: IncludeObject; nowMs: number; withHeader: boolean },
): Record<string, unknown> {
  return {
    kind: "Table",
    apiVersion: `meta.k8s.io/${options.version}`,
    metadata: options.metadata,
    columnDefinitions: options.withHeader ? columnDefinitions(columns) : null,
    rows: objects.map((object) => ({
      cells: columns.map((column) => column.cell(object, options.nowMs) ?? null),
      object: rowObject(object, options),
    })),
  };
}

function rowObject(object: KubeObject, { include, version }: { include: IncludeObject; version: string }): unknown {
  if (include === "None") return null;
  return include === "Object" ? object : partialMetadata(object, version);
}

export function partialMetadata(object: KubeObject, version: string): KubeObject {
  return { kind: "PartialObjectMetadata", apiVersion: `meta.k8s.io/${version}`, metadata: object.metadata };
}
