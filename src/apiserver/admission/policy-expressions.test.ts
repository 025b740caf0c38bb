import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";

import type { k8s } from "../../api/index.ts";
import { createLogger, messageOf, seededRandom, systemClock } from "../../base/index.ts";
import { defineResource, KubeClient, resources } from "../../client/index.ts";
import { openMemoryStore } from "../../storage/index.ts";
import { openCluster } from "../cluster.ts";
import type { Cluster } from "../cluster.ts";

const registration = "admissionregistration.k8s.io/v1";
const policies = defineResource<k8s.ValidatingAdmissionPolicy>(
  registration,
  "validatingadmissionpolicies",
  "ValidatingAdmissionPolicy",
  false,
);
const bindings = defineResource<k8s.ValidatingAdmissionPolicyBinding>(
  registration,
  "validatingadmissionpolicybindings",
  "ValidatingAdmissionPolicyBinding",
  false,
);
const configMaps = { apiGroups: [""], apiVersions: ["v1"], operations: ["CREATE"], resources: ["configmaps"] };

let cluster: Cluster;
let folder: string;
let admin: KubeClient;
before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "berth-policy-expressions-"));
  cluster = await openCluster({
    store: await openMemoryStore(),
    clock: systemClock,
    random: seededRandom(3),
    log: createLogger({ write: () => {} }),
    folder,
  });
  admin = new KubeClient(cluster.handler, { user: { name: "admin", groups: ["system:masters"] } });
});
after(async () => {
  await cluster.close();
  await rm(folder, { recursive: true, force: true });
});

const refusal = (action: Promise<unknown>): Promise<string> => action.then(() => "", messageOf);

/** A policy and its binding; both are gone when the body has ended. */
async function enforced(
  name: string,
  spec: k8s.ValidatingAdmissionPolicySpec,
  binding: k8s.ValidatingAdmissionPolicyBindingSpec,
  body: () => Promise<void>,
): Promise<void> {
  await admin.of(policies).create({ metadata: { name }, spec });
  await admin.of(bindings).create({
    metadata: { name },
    spec: { policyName: name, validationActions: ["Deny"], ...binding },
  });
  await body();
  await admin.of(bindings).delete({ name });
  await admin.of(policies).delete({ name });
}

/** Informers see policies a moment later: tries until something is refused. */
async function whenRefused(make: (attempt: number) => Promise<unknown>): Promise<string> {
  for (let attempt = 0; attempt < 500; attempt++) {
    const why = await refusal(make(attempt));
    if (why !== "") return why;
    await systemClock.sleep(5);
  }
  return "never refused";
}
const configMap = (client: KubeClient, name: string, data = {}) =>
  client.of(resources.configMaps).create({ metadata: { name, namespace: "default" }, data });

test("an expression asks the authorizers about the user and about the request's own resource", async () => {
  const can = "authorizer.group('').resource('secrets').namespace('default').check('get').allowed()";
  const own = "authorizer.requestResource.check('delete').allowed()";
  await enforced(
    "may",
    {
      matchConstraints: { resourceRules: [configMaps] },
      validations: [
        { expression: `${can} && ${own}`, messageExpression: "'not for ' + request.userInfo.username" },
        { expression: "!authorizer.serviceAccount('default', 'nobody').path('/metrics').check('get').allowed()" },
      ],
    },
    {},
    async () => {
      await admin.of(resources.clusterRoles).create({
        metadata: { name: "maker" },
        rules: [{ apiGroups: [""], resources: ["configmaps"], verbs: ["create"] }],
      });
      await admin
        .of(
          defineResource<k8s.ClusterRoleBinding>(
            "rbac.authorization.k8s.io/v1",
            "clusterrolebindings",
            "ClusterRoleBinding",
            false,
          ),
        )
        .create({
          metadata: { name: "maker" },
          roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "maker" },
          subjects: [{ kind: "User", apiGroup: "rbac.authorization.k8s.io", name: "mary" }],
        });
      const mary = new KubeClient(cluster.handler, { user: { name: "mary", groups: ["system:authenticated"] } });
      let why = "";
      for (let attempt = 0; attempt < 500 && !why.includes("not for"); attempt++) {
        why = await refusal(configMap(mary, `mary-${attempt}`));
        await systemClock.sleep(5);
      }
      assert.equal(
        why.replace(/mary-\d+/, "mary-N"),
        `configmaps "mary-N" is forbidden: ValidatingAdmissionPolicy 'may' with binding 'may' denied request: not for mary`,
      );
      assert.equal(await refusal(configMap(admin, "of-admin")), "");
    },
  );
});

test("a rule that names one version of objects speaks of the others too, and sees its own", async () => {
  const rule = {
    apiGroups: ["autoscaling"],
    apiVersions: ["v1"],
    operations: ["CREATE"],
    resources: ["horizontalpodautoscalers"],
  };
  const makeV2 = (name: string, percent: number) =>
    admin.of(resources.horizontalPodAutoscalers).create({
      metadata: { name, namespace: "default" },
      spec: {
        scaleTargetRef: { apiVersion: "apps/v1", kind: "Deployment", name: "x" },
        maxReplicas: 3,
        metrics: [
          { type: "Resource", resource: { name: "cpu", target: { type: "Utilization", averageUtilization: percent } } },
        ],
      },
    });
  const validations = [
    {
      expression:
        "object.spec.targetCPUUtilizationPercentage < 50 && request.kind.version == 'v1' && request.requestKind.version == 'v2'",
    },
  ];
  await enforced("v1-only", { matchConstraints: { resourceRules: [rule] }, validations }, {}, async () => {
    assert.match(
      await whenRefused((attempt) => makeV2(`busy-${attempt}`, 80)),
      /failed expression: object\.spec\.target/,
    );
    assert.equal(await refusal(makeV2("calm", 40)), "");
  });
  const exact = { matchPolicy: "Exact", resourceRules: [rule] };
  await enforced("exactly-v1", { matchConstraints: exact, validations: [{ expression: "false" }] }, {}, async () => {
    const v1 = defineResource("autoscaling/v1", "horizontalpodautoscalers", "HorizontalPodAutoscaler");
    const spec = { scaleTargetRef: { apiVersion: "apps/v1", kind: "Deployment", name: "x" }, maxReplicas: 2 };
    const why = await whenRefused((attempt) =>
      admin.of(v1).create({ metadata: { name: `v1-${attempt}`, namespace: "default" }, spec } as never),
    );
    assert.match(why, /failed expression: false/);
    assert.equal(await refusal(makeV2("other-version", 90)), "");
  });
});

test("parameters are chosen by labels, each is asked; none that fit denies or allows as the binding says", async () => {
  await configMap(admin, "plain");
  for (const [name, most] of [
    ["p1", "9"],
    ["p2", "5"],
  ] as const)
    await admin.of(resources.configMaps).create({
      metadata: { name, namespace: "default", labels: { params: "yes" } },
      data: { most },
    });
  const spec = {
    paramKind: { apiVersion: "v1", kind: "ConfigMap" },
    matchConstraints: { resourceRules: [{ ...configMaps, resources: ["secrets"] }] },
    matchConditions: [{ name: "named", expression: "!object.metadata.name.startsWith('free')" }],
    variables: [{ name: "most", expression: "int(params.data.most)" }],
    validations: [{ expression: "size(object.data) <= variables.most", message: "too much", reason: "Forbidden" }],
  };
  const secret = (name: string, count: number) =>
    admin.of(resources.secrets).create({
      metadata: { name, namespace: "default" },
      data: Object.fromEntries(Array.from({ length: count }, (_, at) => [`k${at}`, ""])),
    });
  const paramRef = (params: string, parameterNotFoundAction: string) => ({
    paramRef: { selector: { matchLabels: { params } }, parameterNotFoundAction },
  });
  await enforced("most", spec, paramRef("yes", "Deny"), async () => {
    assert.match(await whenRefused((attempt) => secret(`seven-${attempt}`, 7)), /denied request: too much$/);
    assert.equal(await refusal(secret("four", 4)), "");
    assert.equal(await refusal(secret("free-seven", 7)), "");
  });
  await enforced("none", spec, paramRef("no", "Deny"), async () => {
    assert.match(
      await whenRefused((attempt) => secret(`any-${attempt}`, 1)),
      /denied request: failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction$/,
    );
  });
});

test("expressions are refused when they are written, with the place in cel-go's words", async () => {
  const write = (spec: k8s.ValidatingAdmissionPolicySpec) =>
    refusal(
      admin.of(policies).create({
        metadata: { name: "bad" },
        spec: { matchConstraints: { resourceRules: [configMaps] }, ...spec },
      }),
    );
  const named = 'ValidatingAdmissionPolicy.admissionregistration.k8s.io "bad" is invalid: ';
  assert.equal(
    await write({ validations: [{ expression: "object.x > nothing" }] }),
    `${named}spec.validations[0].expression: Invalid value: "object.x > nothing": compilation failed: ERROR: <input>:1:12: undeclared reference to 'nothing' (in container '')\n | object.x > nothing\n | ...........^`,
  );
  assert.equal(
    await write({ variables: [{ name: "n", expression: "'a'" }], validations: [{ expression: "variables.n" }] }),
    `${named}spec.validations[0].expression: Invalid value: "variables.n": must evaluate to bool but got string`,
  );
  assert.match(await write({ validations: [{ expression: "params.x == 1" }] }), /undeclared reference to 'params'/);
  assert.match(await write({ validations: [{ expression: "request.nope == ''" }] }), /undefined field 'nope'/);
  assert.match(
    await write({
      validations: [{ expression: "true", messageExpression: "authorizer.path('/').check('get').reason()" }],
    }),
    /spec\.validations\[0\]\.messageExpression: .*undeclared reference to 'authorizer'/,
  );
});
