import type { AnyObject } from "../../../client/index.ts";
import { Lines, pairs } from "./lines.ts";

const acronyms = new Set(["api", "uid", "url"]);
const shownAbove = new Set(["name", "namespace", "labels", "annotations", "managedFields"]);

/** `creationTimestamp` as "Creation Timestamp". */
export function label(name: string): string {
  const words = name.replaceAll(/([a-z0-9])([A-Z])/g, "$1 $2").split(/[\s_-]+/);
  return words
    .map((word) =>
      acronyms.has(word.toLowerCase()) ? word.toUpperCase() : word.charAt(0).toUpperCase() + word.slice(1),
    )
    .join(" ");
}

/** Whatever an object says, in the form that kubectl gives to kinds that it does not know. */
export function describeAny(object: AnyObject): Lines {
  const { apiVersion, kind, metadata = {}, ...rest } = object as AnyObject & Record<string, unknown>;
  const lines = new Lines()
    .add(0, "Name", metadata.name)
    .add(0, "Namespace", metadata.namespace ?? "")
    .add(0, "Labels", pairs(metadata.labels))
    .add(0, "Annotations", pairs(metadata.annotations, ": "))
    .add(0, "API Version", apiVersion)
    .add(0, "Kind", kind);
  const own = Object.fromEntries(Object.entries(metadata).filter(([name]) => !shownAbove.has(name)));
  fields(lines, 0, { metadata: own, ...rest });
  return lines;
}

function fields(lines: Lines, indent: number, given: Readonly<Record<string, unknown>>): void {
  for (const [name, value] of Object.entries(given).toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    if (Array.isArray(value)) list(lines, indent, label(name), value);
    else if (typeof value === "object" && value !== null) {
      lines.heading(indent, label(name));
      fields(lines, indent + 1, value as Record<string, unknown>);
    } else lines.add(indent, label(name), value === null ? "<nil>" : (value as string | number | boolean));
  }
}

function list(lines: Lines, indent: number, name: string, items: readonly unknown[]): void {
  lines.heading(indent, name);
  for (const item of items)
    if (typeof item === "object" && item !== null) fields(lines, indent + 1, item as Record<string, unknown>);
    else lines.text(indent + 1, String(item));
}
