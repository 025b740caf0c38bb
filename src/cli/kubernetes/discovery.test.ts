import assert from "node:assert/strict";
import { test } from "node:test";
import { defineResource } from "../../client/index.ts";
import { findResource, findResources, nameOf, resourceOfKind, type Found } from "./discovery.ts";

const found = (
  apiVersion: string,
  plural: string,
  kind: string,
  shortNames: string[] = [],
  categories = ["all"],
): Found => ({
  resource: defineResource(apiVersion, plural, kind),
  singular: kind.toLowerCase(),
  shortNames,
  categories,
});
const all = [
  found("v1", "pods", "Pod", ["po"]),
  found("v1", "events", "Event", ["ev"], []),
  found("apps/v1", "deployments", "Deployment", ["deploy"]),
  found("events.k8s.io/v1", "events", "Event", ["ev"], []),
];

test("a type is found by any of its names, the core group's first", () => {
  for (const word of ["deploy", "deployment", "Deployments", "deployments.apps", "deployment.apps"])
    assert.equal(findResource(all, word).plural, "deployments", word);
  assert.equal(findResource(all, "ev").group, "");
  assert.equal(findResource(all, "events.events.k8s.io").group, "events.k8s.io");
  assert.throws(() => findResource(all, "gadget"), /no resource type "gadget"/);
});

test("lists and categories, kinds of manifests, names of objects", () => {
  assert.deepEqual(
    findResources(all, "all,ev").map(({ plural }) => plural),
    ["pods", "deployments", "events"],
  );
  const deployment = resourceOfKind(all, { apiVersion: "apps/v1", kind: "Deployment" });
  assert.equal(nameOf(deployment, "web"), "deployment.apps/web");
  assert.throws(() => resourceOfKind(all, { apiVersion: "apps/v2", kind: "Deployment" }), /in version "apps\/v2"/);
});
