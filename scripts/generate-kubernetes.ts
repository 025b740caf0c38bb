/**
 * Makes the facts of the Kubernetes API that berth works with out of upstream's published description:
 *
 *     node scripts/generate-kubernetes.ts ../shared/kubernetes/swagger-v1.34.json
 *
 * Writes src/api/kubernetes/generated/types.generated.ts (TypeScript shapes) and src/apiserver/schema/facts.generated.json (names, types, required fields,
 * merge keys, resources with verbs). Facts only: upstream's prose stays upstream. Both files are committed; run this for a new version.
 */
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";

import { encodeFacts } from "./kubernetes/facts.ts";
import { readSwagger } from "./kubernetes/swagger.ts";
import { renderTypes } from "./kubernetes/types.ts";

const root = path.resolve(import.meta.dirname, "..");
const source = path.resolve(process.argv[2] ?? path.join(root, "../shared/kubernetes/swagger-v1.34.json"));

const swagger = readSwagger(readFileSync(source, "utf8"));
writeFileSync(path.join(root, "src/api/kubernetes/generated/types.generated.ts"), renderTypes(swagger));
writeFileSync(path.join(root, "src/apiserver/schema/facts.generated.json"), encodeFacts(swagger));
