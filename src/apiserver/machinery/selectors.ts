import type { KubeObject } from "../../api/index.ts";
import { badRequestError } from "./status.ts";

export interface Requirement {
  readonly key: string;
  readonly operator: "in" | "notin" | "exists" | "absent" | "gt" | "lt";
  readonly values: readonly string[];
}

export type LabelSelector = readonly Requirement[];

const KEY = /^([a-z0-9A-Z]([a-z0-9A-Z.-]{0,251}[a-z0-9A-Z])?\/)?[a-zA-Z0-9]([-a-zA-Z0-9_.]{0,61}[a-zA-Z0-9])?$/;
const VALUE = /^(([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9])?$/;

/** https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#list-and-watch-filtering */
export function parseLabelSelector(text: string): LabelSelector {
  return splitOutsideParentheses(text).map((part) => requirement(part.trim(), text));
}

function requirement(part: string, whole: string): Requirement {
  const set = /^(\S+)\s+(in|notin)\s*\(([^()]*)\)$/.exec(part);
  if (set)
    return checked(
      set[1]!,
      set[2] as "in" | "notin",
      set[3]!.split(",").map((value) => value.trim()),
    );
  const compare = /^([^\s=!<>]+)\s*(==|!=|=|>|<)\s*(.*)$/.exec(part);
  if (compare) {
    const operator = ({ "=": "in", "==": "in", "!=": "notin", ">": "gt", "<": "lt" } as const)[compare[2] as "="];
    return checked(compare[1]!, operator, [compare[3]!.trim()]);
  }
  if (part.startsWith("!")) return checked(part.slice(1).trim(), "absent", []);
  if (/^\S+$/.test(part)) return checked(part, "exists", []);
  throw badRequestError(`unable to parse requirement: found '${part}', expected: ',' or 'end of string' in "${whole}"`);
}

function checked(key: string, operator: Requirement["operator"], values: readonly string[]): Requirement {
  if (!KEY.test(key)) {
    throw badRequestError(
      `unable to parse requirement: <nil>: Invalid value: "${key}": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')`,
    );
  }
  const bad = values.find((value) => !VALUE.test(value));
  if (bad !== undefined) {
    throw badRequestError(
      `unable to parse requirement: values[0][${key}]: Invalid value: "${bad}": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')`,
    );
  }
  return { key, operator, values };
}

function splitOutsideParentheses(text: string): string[] {
  const parts: string[] = [];
  let depth = 0;
  let start = 0;
  for (let at = 0; at < text.length; at++) {
    const char = text[at];
    if (char === "(") depth++;
    else if (char === ")") depth--;
    else if (char === "," && depth === 0) {
      parts.push(text.slice(start, at));
      start = at + 1;
    }
  }
  parts.push(text.slice(start));
  return parts.filter((part) => part.trim() !== "");
}

export function matchesLabels(selector: LabelSelector, labels: Readonly<Record<string, string>> | undefined): boolean {
  return selector.every(({ key, operator, values }) => {
    const value = labels && Object.hasOwn(labels, key) ? labels[key] : undefined;
    switch (operator) {
      case "in":
        return value !== undefined && values.includes(value);
      case "notin":
        return value === undefined || !values.includes(value);
      case "exists":
        return value !== undefined;
      case "absent":
        return value === undefined;
      case "gt":
        return value !== undefined && Number(value) > Number(values[0]);
      case "lt":
        return value !== undefined && Number(value) < Number(values[0]);
    }
  });
}

export interface FieldTerm {
  readonly field: string;
  readonly equal: boolean;
  readonly value: string;
}

/** `a=b,c!=d`, with `\,` `\=` `\\` escaped. */
export function parseFieldSelector(text: string): readonly FieldTerm[] {
  const parts = text.match(/(?:\\.|[^,\\])+/g) ?? [];
  return parts.map((part) => {
    const match = /^((?:\\.|[^\\=!])+)(==|!=|=)(.*)$/.exec(part);
    if (!match) throw badRequestError(`invalid selector: '${text}'; can't understand '${part}'`);
    return { field: match[1]!, equal: match[2] !== "!=", value: match[3]!.replace(/\\(.)/g, "$1") };
  });
}

export type FieldReaders = Readonly<Record<string, (object: KubeObject) => string>>;

const COMMON: FieldReaders = {
  "metadata.name": (object) => object.metadata.name ?? "",
  "metadata.namespace": (object) => object.metadata.namespace ?? "",
};

/** The test a field selector stands for. Throws a bad request for a field that this kind doesn't index. */
export function fieldMatcher(
  terms: readonly FieldTerm[],
  readers: FieldReaders | undefined,
  namespaced: boolean,
): (object: KubeObject) => boolean {
  const tests = terms.map(({ field, equal, value }) => {
    const known = readers && Object.hasOwn(readers, field) ? readers[field] : undefined;
    const reader = known ?? (field === "metadata.namespace" && !namespaced ? undefined : COMMON[field]);
    if (!reader) throw badRequestError(`field label not supported: ${field}`);
    return (object: KubeObject) => (reader(object) === value) === equal;
  });
  return (object) => tests.every((test) => test(object));
}
