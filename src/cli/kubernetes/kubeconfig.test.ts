import assert from "node:assert/strict";
import { test } from "node:test";
import { mergeKubeconfig, type Kubeconfig } from "./kubeconfig.ts";

const berth: Kubeconfig = {
  clusters: [{ name: "berth" }],
  contexts: [{ name: "berth", context: { cluster: "berth", user: "berth" } }],
  users: [{ name: "berth" }],
  "current-context": "berth",
};

test("a cluster is put beside the user's own, once, and what is theirs stays", () => {
  const own: Kubeconfig = {
    clusters: [{ name: "work" }],
    contexts: [{ name: "work", context: { cluster: "work", user: "me", namespace: "shop" } }],
    users: [{ name: "me" }],
    "current-context": "work",
    extensions: [{ name: "x" }],
  };
  const once = mergeKubeconfig(own, berth, "berth-ci");
  assert.deepEqual(mergeKubeconfig(once, berth, "berth-ci"), once);
  assert.deepEqual(
    once.contexts?.map(({ name, context }) => [name, context["cluster"], context["user"]]),
    [
      ["work", "work", "me"],
      ["berth-ci", "berth-ci", "berth-ci"],
    ],
  );
  assert.deepEqual([once["current-context"], once["extensions"]], ["berth-ci", own["extensions"]]);
});

test("a file that isn't there yet becomes a whole one", () => {
  const { apiVersion, kind, users } = mergeKubeconfig({}, berth, "berth");
  assert.deepEqual([apiVersion, kind, users], ["v1", "Config", [{ name: "berth" }]]);
});
