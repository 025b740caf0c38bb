import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import type { Schema } from "../../api/index.ts";
import { builtinKinds } from "../resources/index.ts";
import { describe, parse } from "./descriptions.ts";

const kinds = builtinKinds();
/** Every named type, by its last name; several groups and versions may share it. */
const types = new Map<string, Set<string>>();

function collect(schema: Schema | undefined, seen = new Set<Schema>()): void {
  if (!schema || seen.has(schema)) return;
  seen.add(schema);
  const { name, properties = {} } = schema;
  if (name !== undefined) {
    const short = name.slice(name.lastIndexOf(".") + 1);
    types.set(short, new Set([...(types.get(short) ?? []), ...Object.keys(properties)]));
  }
  for (const child of [...Object.values(properties), schema.items, schema.additionalProperties]) collect(child, seen);
}
for (const { schema } of kinds) collect(schema);

test("every kind is described", () => {
  assert.deepEqual(
    kinds.map(({ schema }) => schema.name!).filter((name) => !describe(name)),
    [],
  );
});

test("so is every field of the types that are looked up most", () => {
  const wanted =
    "Pod PodSpec PodStatus Container ContainerPort EnvVar Probe ResourceRequirements VolumeMount Deployment DeploymentSpec " +
    "DeploymentStatus Service ServiceSpec ServicePort ConfigMap Secret Job JobSpec CronJobSpec PersistentVolumeClaim " +
    "IngressSpec IngressRule HTTPIngressPath HorizontalPodAutoscaler HorizontalPodAutoscalerSpec MetricSpec";
  const missing = wanted
    .split(" ")
    .flatMap((type) =>
      [...types.get(type)!].filter((field) => !describe(type, field)).map((field) => `${type}.${field}`),
    );
  assert.deepEqual(missing.sort(), [
    "PodStatus.extendedResourceClaimStatus",
    "PodStatus.resize",
    "PodStatus.resourceClaimStatuses",
  ]);
});

test("nothing is described that is not there", () => {
  const text = readFileSync(new URL("./descriptions.txt", import.meta.url), "utf8");
  const known = (key: string) => {
    const [type = "", field] = key.split(".");
    if (type === "*" || type === "ListMeta" || type.endsWith("List")) return true;
    return types.has(type) && (field === undefined || types.get(type)!.has(field));
  };
  assert.deepEqual(
    [...parse(text).keys()].filter((key) => !known(key)),
    [],
  );
});

test("a type is described by its last name, a field by its type's or any", () => {
  assert.match(describe("io.k8s.api.core.v1.Pod")!, /^Containers that run together/);
  assert.match(describe("io.k8s.api.core.v1.Container", "image")!, /nginx/);
  assert.equal(describe("io.k8s.api.apps.v1.Deployment", "kind"), describe("io.k8s.api.core.v1.Pod", "kind"));
  assert.equal(describe("io.k8s.api.core.v1.Pod", "made-up"), undefined);
});
