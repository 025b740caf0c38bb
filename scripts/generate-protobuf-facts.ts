/**
 * Makes src/apiserver/machinery/protobuf/facts.generated.json from Kubernetes' published generated.proto files: field numbers and types,
 * which is all that decoding needs. Usage: node scripts/generate-protobuf-facts.ts FOLDER-WITH-PROTO-FILES
 *
 * One line of text per message, `name=number:type` separated by blanks. Types: s string, y bytes, b bool, i integer, d double, f float, or a
 * message; before it `*` for repeated and `%` for a map. A `~` marks a message whose fields stand in its parent's JSON (a Go embedded struct).
 */
import { globSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { readResourceFacts } from "../src/apiserver/schema/facts.ts";
import type { Schema } from "../src/api/index.ts";

const folder = process.argv[2]!;
const SCALARS: Record<string, string> = { string: "s", bytes: "y", bool: "b", double: "d", float: "f" };

const schemas = new Map<string, Schema>();
const visit = (schema: Schema | undefined, seen = new Set<Schema>()): void => {
  if (!schema || seen.has(schema)) return;
  seen.add(schema);
  if (schema.name) {
    if (schemas.has(schema.name)) return;
    schemas.set(schema.name, schema);
  }
  for (const child of Object.values(schema.properties ?? {})) visit(child, seen);
  visit(schema.additionalProperties, seen);
  visit(schema.items, seen);
};
for (const fact of readResourceFacts()) visit(fact.schema as Schema);

const messages: Record<string, string> = {};
for (const file of globSync("**/*.proto", { cwd: folder }).sort()) {
  const text = readFileSync(path.join(folder, file), "utf8").replace(/\/\/.*$/gm, "");
  const pkg = /^package ([\w.]+);/m.exec(text)?.[1];
  if (!pkg || /alpha|beta/.test(pkg.replace("meta.v1beta1", ""))) continue;
  for (const [, name = "", body = ""] of text.matchAll(/^message (\w+) \{([^}]*)\}/gm))
    messages[short(`${pkg}.${name}`)] = fieldsOf(pkg, name, body);
}

function short(name: string): string {
  return name.replace(/^\.?k8s\.io\./, "");
}

function fieldsOf(pkg: string, name: string, body: string): string {
  const schema = schemas.get(`io.k8s.${short(`${pkg}.${name}`)}`);
  const fields: string[] = [];
  const pattern = /(optional|repeated)?\s*(map<string,\s*([.\w]+)>|[.\w]+)\s+(\w+)\s*=\s*(\d+);/g;
  for (const [, label, type = "", mapped, field = "", number] of body.matchAll(pattern)) {
    const bare = mapped ?? type;
    const known =
      SCALARS[bare] ??
      (/^(u?s?int|fixed|sfixed)(32|64)$/.test(bare) ? "i" : short(bare.includes(".") ? bare : `${pkg}.${bare}`));
    const embedded =
      schema?.properties && !schema.properties[field] && known.length > 1 && label !== "repeated" && !mapped;
    fields.push(`${field}=${number}:${embedded ? "~" : mapped ? "%" : label === "repeated" ? "*" : ""}${known}`);
  }
  return fields.join(" ");
}

const target = path.resolve(import.meta.dirname, "../src/apiserver/machinery/protobuf/facts.generated.json");
writeFileSync(target, `${JSON.stringify(messages, null, 0)}\n`);
console.log(`${Object.keys(messages).length} messages`);
