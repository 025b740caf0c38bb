import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";

import type { k8s, UserInfo } from "../../api/index.ts";
import { createLogger, messageOf, seededRandom, systemClock } from "../../base/index.ts";
import { defineResource, KubeClient, resources } from "../../client/index.ts";
import { openMemoryStore } from "../../storage/index.ts";
import { CertificateAuthority } from "../certificates/authority.ts";
import { openCluster } from "../cluster.ts";

const admin: UserInfo = { name: "admin", groups: ["system:masters", "system:authenticated"] };
const refusal = async (action: Promise<unknown>): Promise<string> => action.then(() => "allowed", messageOf);

interface Review {
  request: { uid: string; operation: string; object: { metadata: { name: string } } };
}

/** A webhook server that adds a label to everything and refuses what is called "bad". */
async function startWebhook() {
  const nowMs = systemClock.nowMs();
  const authority = CertificateAuthority.create("hooks", nowMs);
  const pair = authority.issue({
    subject: { commonName: "hook" },
    usages: ["server"],
    names: ["localhost"],
    notBeforeMs: nowMs,
    notAfterMs: nowMs + 3_600_000,
  });
  const asked: string[] = [];
  const server = createServer(pair, (request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      asked.push(request.url!);
      const { request: review } = JSON.parse(Buffer.concat(chunks).toString()) as Review;
      const patch = [{ op: "add", path: "/metadata/labels", value: { hooked: review.operation } }];
      const answer = request.url!.startsWith("/mutate")
        ? { allowed: true, patchType: "JSONPatch", patch: Buffer.from(JSON.stringify(patch)).toString("base64") }
        : { allowed: review.object.metadata.name !== "bad", status: { message: "no bad names" } };
      response.end(
        JSON.stringify({
          apiVersion: "admission.k8s.io/v1",
          kind: "AdmissionReview",
          response: { uid: review.uid, ...answer },
        }),
      );
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    server,
    asked,
    port: (server.address() as AddressInfo).port,
    ca: Buffer.from(authority.pair.cert).toString("base64"),
  };
}

test("webhooks change and refuse; failures are fatal or ignored as their policy says; nobody grants what they don't have", async () => {
  const folder = await mkdtemp(path.join(tmpdir(), "berth-hooks-"));
  const hook = await startWebhook();
  const cluster = await openCluster({
    store: await openMemoryStore(),
    clock: systemClock,
    random: seededRandom(2),
    log: createLogger({ write: () => {} }),
    folder,
  });
  try {
    const client = new KubeClient(cluster.handler, { user: admin });
    const registration = "admissionregistration.k8s.io/v1";
    const rules = [{ operations: ["CREATE"], apiGroups: [""], apiVersions: ["v1"], resources: ["configmaps"] }];
    const entry = (name: string, url: string, failurePolicy = "Fail") => ({
      name,
      failurePolicy,
      rules,
      sideEffects: "None",
      admissionReviewVersions: ["v1"],
      clientConfig: { url, caBundle: hook.ca },
    });
    await client
      .of(
        defineResource<k8s.MutatingWebhookConfiguration>(
          registration,
          "mutatingwebhookconfigurations",
          "MutatingWebhookConfiguration",
          false,
        ),
      )
      .create({ metadata: { name: "m" }, webhooks: [entry("m.example.com", `https://localhost:${hook.port}/mutate`)] });
    const validating = client.of(
      defineResource<k8s.ValidatingWebhookConfiguration>(
        registration,
        "validatingwebhookconfigurations",
        "ValidatingWebhookConfiguration",
        false,
      ),
    );
    const ignored = entry("gone.example.com", "https://localhost:1/x", "Ignore");
    await validating.create({
      metadata: { name: "v" },
      webhooks: [entry("v.example.com", `https://localhost:${hook.port}/v`), ignored],
    });
    const configMaps = client.of(resources.configMaps);
    const make = (name: string) => configMaps.create({ metadata: { name, namespace: "default" } });
    // Informers see the configurations a moment later.
    for (let attempt = 0; attempt < 100; attempt++) {
      if ((await make(`probe-${attempt}`)).metadata.labels !== undefined && (await refusal(make("bad"))) !== "allowed")
        break;
      await configMaps.delete({ namespace: "default", name: "bad" }).catch(() => {});
      await systemClock.sleep(10);
    }
    assert.deepEqual((await make("good")).metadata.labels, { hooked: "CREATE" });
    assert.equal(await refusal(make("bad")), 'admission webhook "v.example.com" denied the request: no bad names');

    await validating.create({
      metadata: { name: "w" },
      webhooks: [entry("down.example.com", "https://localhost:1/x")],
    });
    let why = "";
    for (let attempt = 0; attempt < 100 && !why.includes("down.example.com"); attempt++) {
      why = await refusal(make(`again-${attempt}`));
      await systemClock.sleep(10);
    }
    assert.match(
      why,
      /failed calling webhook "down.example.com": failed to call webhook: Post "https:\/\/localhost:1\/x\?timeout=10s"/,
    );

    const roles = defineResource<k8s.Role>("rbac.authorization.k8s.io/v1", "roles", "Role");
    const bindings = defineResource<k8s.RoleBinding>("rbac.authorization.k8s.io/v1", "rolebindings", "RoleBinding");
    const roleRef = (name: string) => ({ apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name });
    await client.of(bindings).create({
      metadata: { name: "jane", namespace: "default" },
      roleRef: roleRef("admin"),
      subjects: [{ kind: "User", name: "jane" }],
    });
    const jane = new KubeClient(cluster.handler, { user: { name: "jane", groups: ["system:authenticated"] } });
    const grant = (name: string, role: string) =>
      jane.of(bindings).create({
        metadata: { name, namespace: "default" },
        roleRef: roleRef(role),
        subjects: [{ kind: "User", name: "joe" }],
      });
    for (let attempt = 0; attempt < 100 && (await refusal(grant("joe-views", "view"))) !== "allowed"; attempt++) {
      await jane
        .of(bindings)
        .delete({ namespace: "default", name: "joe-views" })
        .catch(() => {});
      await systemClock.sleep(10);
    }
    assert.match(
      await refusal(grant("joe-rules", "cluster-admin")),
      /is attempting to grant RBAC permissions not currently held:\n{APIGroups:\["\*"\], Resources:\["\*"\], Verbs:\["\*"\]}/,
    );
    const wide = {
      metadata: { name: "wide", namespace: "default" },
      rules: [{ verbs: ["get"], apiGroups: [""], resources: ["nodes"] }],
    };
    assert.match(await refusal(jane.of(roles).create(wide)), /not currently held/);
  } finally {
    await cluster.close();
    hook.server.close();
    hook.server.closeAllConnections();
    await rm(folder, { recursive: true, force: true });
  }
});

test("match conditions choose who is asked; who wants it is asked again after others changed the object", async () => {
  const folder = await mkdtemp(path.join(tmpdir(), "berth-hooks-"));
  const hook = await startWebhook();
  const cluster = await openCluster({
    store: await openMemoryStore(),
    clock: systemClock,
    random: seededRandom(3),
    log: createLogger({ write: () => {} }),
    folder,
  });
  try {
    const client = new KubeClient(cluster.handler, { user: admin });
    const rules = [{ operations: ["CREATE"], apiGroups: [""], apiVersions: ["v1"], resources: ["configmaps"] }];
    const entry = (name: string, expression?: string, reinvocationPolicy = "Never", failurePolicy = "Fail") => ({
      name: `${name}.example.com`,
      rules,
      failurePolicy,
      reinvocationPolicy,
      sideEffects: "None",
      admissionReviewVersions: ["v1"],
      clientConfig: {
        url: `https://localhost:${hook.port}/${name === "first" ? "look" : "mutate"}/${name}`,
        caBundle: hook.ca,
      },
      ...(expression === undefined ? {} : { matchConditions: [{ name: "c", expression }] }),
    });
    await client
      .of(
        defineResource<k8s.MutatingWebhookConfiguration>(
          "admissionregistration.k8s.io/v1",
          "mutatingwebhookconfigurations",
          "MutatingWebhookConfiguration",
          false,
        ),
      )
      .create({
        metadata: { name: "m" },
        webhooks: [
          entry("first", undefined, "IfNeeded"),
          entry("second", "object.metadata.name.startsWith('two')"),
          entry("third", "object.data.missing == 'x'", "Never", "Ignore"),
          entry("fourth", "object.metadata.name != 'four' || object.data.missing == 'x'", "Never", "Fail"),
        ],
      });
    const make = async (name: string) => {
      hook.asked.length = 0;
      await client.of(resources.configMaps).create({ metadata: { name, namespace: "default" }, data: { a: "b" } });
      return hook.asked.map((url) => url.split("/")[2]);
    };
    for (let attempt = 0; (await make(`probe-${attempt}`)).length === 0; attempt++)
      await new Promise((resolve) => setTimeout(resolve, 10));
    assert.deepEqual(await make("one"), ["first", "fourth", "first"]);
    assert.deepEqual(await make("two"), ["first", "second", "fourth", "first"]);
    assert.match(
      await refusal(make("four")),
      /configmaps "four" is forbidden: expression 'object.*' resulted in error: no such key: missing$/,
    );
  } finally {
    await cluster.close();
    hook.server.close();
    await rm(folder, { recursive: true, force: true });
  }
});
