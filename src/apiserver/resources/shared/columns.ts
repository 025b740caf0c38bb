import type { KubeObject } from "../../../api/index.ts";
import type { Column } from "../../machinery/kind.ts";
import { humanDuration, since } from "../../machinery/age.ts";

/** The building blocks of upstream's printers (pkg/printers/internalversion), whose cells kubectl shows as they are. */
type Cell<T> = (object: T, nowMs: number) => unknown;

/** A shared view of an object in columns of one kind. */
const typed =
  <T>(cell: Cell<T>) =>
  (object: KubeObject, nowMs: number): unknown =>
    cell(object as unknown as T, nowMs);

export const text = <T>(name: string, cell: Cell<T>): Column => ({ name, type: "string", cell: typed(cell) });
export const integer = <T>(name: string, cell: Cell<T>): Column => ({ name, type: "integer", cell: typed(cell) });
export const boolean = <T>(name: string, cell: Cell<T>): Column => ({ name, type: "boolean", cell: typed(cell) });
/** Shown with `-o wide` only. */
export const wide = (column: Column): Column => ({ ...column, priority: 1 });

export const nameColumn: Column = {
  name: "Name",
  type: "string",
  format: "name",
  cell: (object) => object.metadata.name ?? "",
};
export const ageColumn: Column = {
  name: "Age",
  type: "string",
  cell: (object, nowMs) => since(object.metadata.creationTimestamp, nowMs),
};
export const createdAtColumn: Column = {
  name: "Created At",
  type: "date",
  cell: (object) => object.metadata.creationTimestamp ?? null,
};

export { humanDuration, since };

export const orNone = (value: string): string => (value === "" ? "<none>" : value);

export interface PodTemplate {
  spec?: { containers?: readonly { name?: string; image?: string }[] };
}

export const containerNames = (template: PodTemplate | undefined): string =>
  (template?.spec?.containers ?? []).map(({ name }) => name ?? "").join(",");
export const containerImages = (template: PodTemplate | undefined): string =>
  (template?.spec?.containers ?? []).map(({ image }) => image ?? "").join(",");

/** Labels as kubectl prints them, `a=b,c=d` by key; `<none>` for none. */
export function formatLabels(labels: Readonly<Record<string, string>> | undefined): string {
  const entries = Object.entries(labels ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
  return orNone(entries.map(([key, value]) => `${key}=${value}`).join(","));
}

interface LabelSelector {
  matchLabels?: Record<string, string>;
  matchExpressions?: readonly { key: string; operator: string; values?: readonly string[] }[];
}

/** metav1.FormatLabelSelector. */
export function formatSelector(selector: LabelSelector | undefined): string {
  const pairs = Object.entries(selector?.matchLabels ?? {}).map(([key, value]) => [key, `${key}=${value}`] as const);
  const expressions = (selector?.matchExpressions ?? []).map((item) => [item.key, formatExpression(item)] as const);
  const sorted = [...pairs, ...expressions].sort(([a], [b]) => (a < b ? -1 : 1));
  return orNone(sorted.map(([, shown]) => shown).join(","));
}

function formatExpression({
  key,
  operator,
  values = [],
}: {
  key: string;
  operator: string;
  values?: readonly string[];
}) {
  if (operator === "Exists") return key;
  if (operator === "DoesNotExist") return `!${key}`;
  return `${key} ${operator === "In" ? "in" : "notin"} (${values.toSorted().join(",")})`;
}
