import { readFileSync } from "node:fs";

/** What a type of this name is for, or one of its fields. */
export type Describe = (type: string, field?: string) => string | undefined;

/** Fields of any type. */
const ANY = "*";

let known: Map<string, string> | undefined;

/** Reads `descriptions.txt` when a document is first made; nobody else needs it. */
export const describe: Describe = (type, field) => {
  known ??= parse(readFileSync(new URL("./descriptions.txt", import.meta.url), "utf8"));
  const name = type.slice(type.lastIndexOf(".") + 1);
  return field === undefined ? known.get(name) : (known.get(`${name}.${field}`) ?? known.get(`${ANY}.${field}`));
};

/** `Type` and `Type.field` with what is said of them. */
export function parse(text: string): Map<string, string> {
  const found = new Map<string, string>();
  let type = "";
  for (const line of text.split("\n")) {
    const [, indent, name, said] = /^( *)([*\w$]+)(?:: (.*))?$/.exec(line) ?? [];
    if (name === undefined || line.startsWith("#")) continue;
    if (indent === "") type = name;
    if (said !== undefined) found.set(indent === "" ? type : `${type}.${name}`, said);
  }
  return found;
}
