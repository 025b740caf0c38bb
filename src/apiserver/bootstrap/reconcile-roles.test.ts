import assert from "node:assert/strict";
import { test } from "node:test";
import type { k8s } from "../../api/index.ts";
import { withMissing } from "./reconcile-roles.ts";

type Role = Pick<k8s.ClusterRole, "metadata" | "rules">;
const wanted: Role = {
  metadata: { name: "r" },
  rules: [
    { verbs: ["get", "list"], apiGroups: [""], resources: ["pods"] },
    { verbs: ["patch"], apiGroups: [""], resources: ["services/status"] },
  ],
};

test("a default role of an older version gets the rules it lacks and keeps what was added", () => {
  const own = { verbs: ["get"], apiGroups: ["x"], resources: ["y"] };
  const there = {
    metadata: { name: "r", resourceVersion: "7" },
    rules: [own, { resources: ["pods"], apiGroups: [""], verbs: ["list", "get"] }],
  };
  const next = withMissing<Role, "rules">(there, wanted, "rules")!;
  assert.deepEqual(next.rules, [...there.rules, wanted.rules![1]]);
  assert.equal(next.metadata, there.metadata);
  assert.equal(withMissing<Role, "rules">(next, wanted, "rules"), undefined, "once is enough");
});

test("roles that are not to be updated, aggregated ones and absent ones are left alone", () => {
  const annotations = { "rbac.authorization.kubernetes.io/autoupdate": "false" };
  assert.equal(
    withMissing<Role, "rules">({ metadata: { name: "r", annotations }, rules: [] }, wanted, "rules"),
    undefined,
  );
  assert.equal(
    withMissing({ metadata: { name: "r" }, rules: [], aggregationRule: {} } as never, wanted, "rules"),
    undefined,
  );
  assert.equal(withMissing(undefined, wanted, "rules"), undefined);
});
