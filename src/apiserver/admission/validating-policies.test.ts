import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";

import type { k8s } from "../../api/index.ts";
import { createLogger, messageOf, seededRandom, systemClock } from "../../base/index.ts";
import { defineResource, KubeClient, resources } from "../../client/index.ts";
import { openMemoryStore } from "../../storage/index.ts";
import { openCluster } from "../cluster.ts";
import { createAudit } from "../machinery/audit.ts";

test("a policy denies what its expressions say, with parameters and variables, where a binding enforces it", async () => {
  const folder = await mkdtemp(path.join(tmpdir(), "berth-policies-"));
  const audited: string[] = [];
  const cluster = await openCluster({
    audit: createAudit({ write: (line) => audited.push(line) }),
    store: await openMemoryStore(),
    clock: systemClock,
    random: seededRandom(3),
    log: createLogger({ write: () => {} }),
    folder,
  });
  try {
    const client = new KubeClient(cluster.handler, { user: { name: "admin", groups: ["system:masters"] } });
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
    await client
      .of(resources.configMaps)
      .create({ metadata: { name: "limits", namespace: "default" }, data: { most: "5" } });
    await client.of(policies).create({
      metadata: { name: "few" },
      spec: {
        paramKind: { apiVersion: "v1", kind: "ConfigMap" },
        matchConstraints: {
          resourceRules: [
            { apiGroups: ["apps"], apiVersions: ["v1"], operations: ["CREATE", "UPDATE"], resources: ["deployments"] },
          ],
        },
        variables: [{ name: "most", expression: "int(params.data.most)" }],
        validations: [{ expression: "object.spec.replicas <= variables.most" }],
        auditAnnotations: [{ key: "asked", valueExpression: "'replicas: ' + string(object.spec.replicas)" }],
      },
    });
    await client.of(bindings).create({
      metadata: { name: "few-here" },
      spec: {
        policyName: "few",
        validationActions: ["Deny"],
        paramRef: { name: "limits", namespace: "default", parameterNotFoundAction: "Deny" },
      },
    });
    const make = (name: string, replicas: number) =>
      client.of(resources.deployments).create({
        metadata: { name, namespace: "default" },
        spec: {
          replicas,
          selector: { matchLabels: { app: name } },
          template: { metadata: { labels: { app: name } }, spec: { containers: [{ name: "c", image: "i" }] } },
        },
      });
    let why = "";
    // Informers see policy and binding a moment later.
    for (let attempt = 0; attempt < 100 && why === ""; attempt++) {
      why = await make(`many-${attempt}`, 6).then(() => "", messageOf);
      await systemClock.sleep(5);
    }
    assert.match(
      why,
      /^deployments\.apps "many-\d+" is forbidden: ValidatingAdmissionPolicy 'few' with binding 'few-here' denied request: failed expression: object\.spec\.replicas <= variables\.most$/,
    );
    assert.equal((await make("few", 5)).spec?.replicas, 5);
    assert.ok(audited.some((line) => line.includes('"few/asked":"replicas: 5"')));
  } finally {
    await cluster.close();
    await rm(folder, { recursive: true, force: true });
  }
});
