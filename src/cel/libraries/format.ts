import { isDns1035Label, isDns1123Label, isDns1123Subdomain, isLabelValue, isQualifiedName } from "../../api/index.ts";
import { hasFormat } from "../formats/index.ts";
import type { formatNames } from "../declarations.ts";

/** A check of texts by name, in the words of those who make such names. */
export class NamedFormat {
  readonly name: string;
  readonly problems: (text: string) => string[];

  constructor(name: string, problems: (text: string) => string[]) {
    this.name = name;
    this.problems = problems;
  }
}

const matching =
  (format: string, problem: string) =>
  (text: string): string[] =>
    hasFormat(text, format) ? [] : [problem];

const checks: Readonly<Record<(typeof formatNames)[number], (text: string) => string[]>> = {
  dns1123Label: (text) => isDns1123Label(text),
  dns1123Subdomain: (text) => isDns1123Subdomain(text),
  dns1035Label: (text) => isDns1035Label(text),
  qualifiedName: isQualifiedName,
  dns1123LabelPrefix: (text) => isDns1123Label(text, true),
  dns1123SubdomainPrefix: (text) => isDns1123Subdomain(text, true),
  dns1035LabelPrefix: (text) => isDns1035Label(text, true),
  labelValue: isLabelValue,
  uri: (text) =>
    URL.canParse(text) || text.startsWith("/") ? [] : [`parse ${JSON.stringify(text)}: invalid URI for request`],
  uuid: matching("uuid", "does not match the UUID format"),
  byte: matching("byte", "invalid base64"),
  date: matching("date", "invalid date"),
  datetime: matching("datetime", "invalid datetime"),
};

const known = new Map(Object.entries(checks).map(([name, problems]) => [name, new NamedFormat(name, problems)]));

/** https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-format-library */
export const namedFormat = (name: string): NamedFormat | undefined => known.get(name);
