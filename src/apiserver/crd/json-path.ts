/** The JSON paths of printer columns and selectable fields: `.spec.replicas`, `.status.conditions[?(@.type=="Ready")].status`, `[*]`. */
type Step = (values: readonly unknown[]) => unknown[];

/** Stands for a dot within a name, written `\.`. */
const escapedDot = "\uE000";

type JsonPath = (object: unknown) => unknown[];

export function compileJsonPath(path: string): JsonPath {
  const steps: Step[] = [];
  const token =
    /\.([A-Za-z0-9_/\uE000-]+)|\['((?:[^'\\]|\\.)*)'\]|\["((?:[^"\\]|\\.)*)"\]|\[(\d+|\*)\]|\[\?\(@\.([\w.-]+)\s*==\s*(?:"([^"]*)"|'([^']*)'|(true|false|\d+))\)\]/y;
  const source = path.replace(/^\$/, "").replaceAll("\\.", escapedDot);
  while (token.lastIndex < source.length) {
    const match = token.exec(source);
    if (match === null) return () => [];
    const [, name, single, double, index, filterField, doubleValue, singleValue, bareValue] = match;
    const field = name ?? single ?? double;
    if (field !== undefined) steps.push(fieldStep(field.replaceAll(escapedDot, ".")));
    else if (index !== undefined) steps.push(indexStep(index));
    else if (filterField !== undefined)
      steps.push(filterStep(filterField, doubleValue ?? singleValue ?? bareValue ?? ""));
  }
  return (object) => steps.reduce<unknown[]>((values, step) => step(values), [object]);
}

const fieldStep =
  (name: string): Step =>
  (values) =>
    values
      .map((value) => (value as Record<string, unknown> | null | undefined)?.[name])
      .filter((value) => value !== undefined);

const indexStep =
  (index: string): Step =>
  (values) =>
    values.flatMap((value) => {
      if (index === "*") return typeof value === "object" && value !== null ? Object.values(value) : [];
      const item: unknown = Array.isArray(value) ? value[Number(index)] : undefined;
      return item === undefined ? [] : [item];
    });

const filterStep =
  (path: string, wanted: string): Step =>
  (values) =>
    values
      .flatMap((value) => (Array.isArray(value) ? (value as unknown[]) : []))
      .filter((item) => {
        const found = path
          .split(".")
          .reduce<unknown>((inner, name) => (inner as Record<string, unknown> | undefined)?.[name], item);
        return (typeof found === "string" ? found : JSON.stringify(found)) === wanted;
      });
