/** What upstream's conformance suite asks of admission and conversion webhooks: a server of the test's own behind a Service. */
import assert from "node:assert/strict";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { after, describe, test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import { CertificateAuthority } from "../../../src/apiserver/certificates/authority.ts";
import { APPLY, eventually, JSON_PATCH, MERGE, type Answer } from "./client.ts";
import { clusterApi } from "./cluster.ts";

// oxlint-disable-next-line typescript/no-explicit-any -- objects of every kind
type Anything = any;

const api = clusterApi({ prepare: startHooks });
let hooks: Server;
let caBundle: string;
const HOOK = { namespace: "hooks", name: "webhook" };
const CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1";
const CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

async function startHooks(): Promise<void> {
  const nowMs = Date.now();
  const authority = CertificateAuthority.create("hooks", nowMs);
  caBundle = Buffer.from(authority.pair.cert).toString("base64");
  const subject = { commonName: "webhook" };
  const names = [`${HOOK.name}.${HOOK.namespace}.svc`];
  const pair = authority.issue({
    subject,
    usages: ["server"],
    names,
    notBeforeMs: nowMs,
    notAfterMs: nowMs + 3_600_000,
  });
  hooks = createServer(pair, (request, response) => {
    let text = "";
    request.on("data", (chunk: Buffer) => (text += chunk.toString()));
    request.on("end", () => {
      const { kind, apiVersion, request: review } = JSON.parse(text);
      const { uid } = review;
      const name = request.url!.split("?")[0]!;
      const answer = kind === "ConversionReview" ? converted(review) : PAGES[name]!(review);
      const send = () => response.end(JSON.stringify({ kind, apiVersion, response: { uid, ...answer } }));
      if (name === "/slow") setTimeout(send, 1_500).unref();
      else send();
    });
  }).listen(0, "127.0.0.1");
  await new Promise((resolve) => hooks.once("listening", resolve));
  await api.ok("POST", "/api/v1/namespaces", { body: { metadata: { name: HOOK.namespace } } });
  const spec = { type: "ExternalName", externalName: "127.0.0.1" };
  await api.ok("POST", "/api/v1/namespaces/hooks/services", { body: { metadata: { name: HOOK.name }, spec } });
}
after(() => {
  hooks?.closeAllConnections();
  hooks?.close();
});

const deny = (message: string) => ({ allowed: false, status: { message } });
const patched = (...patch: object[]) => ({
  allowed: true,
  patchType: "JSONPatch",
  patch: Buffer.from(JSON.stringify(patch)).toString("base64"),
});
const adding = (to: Anything, step: string) =>
  to?.["mutation-start"] === "yes" ? patched({ op: "add", path: `/data/${step}`, value: "yes" }) : { allowed: true };

/** As upstream's agnhost webhook, by path. */
const PAGES: Record<string, (review: Anything) => object> = {
  "/always-deny": () => deny("this webhook denies all requests"),
  "/slow": () => ({ allowed: true }),
  "/configmaps": ({ object, oldObject }) =>
    (object ?? oldObject).data?.["webhook-e2e-test"] === "webhook-disallow"
      ? deny("the configmap contains unwanted key and value")
      : { allowed: true },
  "/pods": ({ object }) =>
    object.metadata.labels?.["webhook-e2e-test"] === "disallow"
      ? deny("the pod contains unwanted label")
      : { allowed: true },
  "/mutating-configmaps-1": ({ object }) => adding(object.data, "mutation-stage-1"),
  "/mutating-configmaps-2": ({ object }) => adding(object.data, "mutation-stage-2"),
  "/mutating-pods": () =>
    patched({ op: "add", path: "/spec/initContainers", value: [{ name: "webhook-added-init-container", image: "i" }] }),
  "/mutating-custom": ({ object }) => adding(object.data, "mutation-stage-1"),
  "/mutating-unknown": () => patched({ op: "add", path: "/data/unknown", value: "pruned" }),
  "/custom": ({ object, oldObject }) =>
    (object ?? oldObject).data?.["webhook-e2e-test"] === "webhook-disallow"
      ? deny("the custom resource contains unwanted data")
      : { allowed: true },
};

/** hostPort of v1 is host and port of v2. */
function converted({ objects, desiredAPIVersion }: Anything): object {
  const convertedObjects = objects.map((object: Anything) => {
    const { hostPort, host, port, ...rest } = object;
    if (desiredAPIVersion.endsWith("/v2")) {
      const [newHost, newPort] = (hostPort ?? `${host}:${port}`).split(":");
      return { ...rest, apiVersion: desiredAPIVersion, host: newHost, port: newPort };
    }
    return { ...rest, apiVersion: desiredAPIVersion, hostPort: hostPort ?? `${host}:${port}` };
  });
  return { result: { status: "Success" }, convertedObjects };
}

/** Namespaces are marked with who may be asked about them, so that tests don't see each other's webhooks. */
async function namespace(name: string): Promise<string> {
  await api.ok("POST", "/api/v1/namespaces", { body: { metadata: { name, labels: { marked: name } } } });
  return `/api/v1/namespaces/${name}`;
}

const client = (path: string, port = (hooks.address() as AddressInfo).port) => ({
  service: { ...HOOK, path, port },
  caBundle,
});

const hook = (of: string, path: string, resource: [group: string, name: string], more: object = {}) => ({
  name: `${path.slice(1)}.example.com`,
  rules: [
    {
      operations: ["CREATE", "UPDATE", "DELETE"],
      apiGroups: [resource[0]],
      apiVersions: ["*"],
      resources: [resource[1]],
    },
  ],
  clientConfig: client(path),
  namespaceSelector: { matchLabels: { marked: of } },
  sideEffects: "None",
  admissionReviewVersions: ["v1"],
  ...more,
});

/** Registers webhooks of one kind under the name of the test's namespace, and waits until one of them has been asked. */
async function register(kind: "Validating" | "Mutating", of: string, ...webhooks: object[]): Promise<string> {
  const at = `${CONFIGURATIONS}/${kind.toLowerCase()}webhookconfigurations`;
  await api.ok("POST", at, { body: { metadata: { name: of, labels: { of } }, webhooks } });
  return `${at}/${of}`;
}

const configMap = (name: string, data: Record<string, string> = {}) => ({ body: { metadata: { name }, data } });
const DISALLOWED = { "webhook-e2e-test": "webhook-disallow" };

/** Asked again until it is refused: webhooks take effect a moment after they are written. */
async function refused(ask: () => Promise<Answer>, why: RegExp): Promise<Answer> {
  return eventually(`a refusal with ${why}`, async () => {
    const answer = await ask();
    return answer.status >= 400 && why.test(answer.body.message) && answer;
  });
}
const eventuallyEqual = (what: string, ask: () => Promise<unknown>, wanted: unknown) =>
  eventually(what, async () => isDeepStrictEqual(await ask(), wanted));

const dry = "?dryRun=All";

describe("webhooks", { concurrency: 4 }, () => {
  test("what is denied: creation, update and patch of ConfigMaps, creation of Pods", async () => {
    const at = await namespace("denying");
    await register(
      "Validating",
      "denying",
      hook("denying", "/configmaps", ["", "configmaps"]),
      hook("denying", "/pods", ["", "pods"]),
    );
    const create = () => api.call("POST", `${at}/configmaps${dry}`, configMap("disallowed", DISALLOWED));
    const { status, body } = await refused(create, /unwanted key and value/);
    assert.deepEqual(
      [status, body.message],
      [
        403,
        'admission webhook "configmaps.example.com" denied the request: the configmap contains unwanted key and value',
      ],
    );
    await api.ok("POST", `${at}/configmaps`, configMap("allowed"));
    const update = () => api.call("PUT", `${at}/configmaps/allowed`, configMap("allowed", DISALLOWED));
    await refused(update, /unwanted key and value/);
    const patch = { body: { data: DISALLOWED }, headers: { "content-type": MERGE } };
    await refused(() => api.call("PATCH", `${at}/configmaps/allowed`, patch), /unwanted key and value/);
    const labels = { "webhook-e2e-test": "disallow" };
    const spec = { containers: [{ name: "main", image: "pause" }] };
    const pod = { body: { metadata: { name: "p", labels }, spec } };
    await refused(() => api.call("POST", `${at}/pods${dry}`, pod), /unwanted label/);
  });

  test("custom resources are denied when they are made, changed and deleted", async () => {
    const at = `${await custom("denied")}/namespaces/custom-denied/denied`;
    await namespace("custom-denied");
    const configuration = await register(
      "Validating",
      "custom-denied",
      hook("custom-denied", "/custom", ["hooks.example.com", "denied"]),
    );
    const object = (data: object) => ({
      body: { apiVersion: "hooks.example.com/v1", kind: "Denied", metadata: { name: "it" }, data },
    });
    await refused(() => api.call("POST", `${at}${dry}`, object(DISALLOWED)), /unwanted data/);
    await api.ok("POST", at, object({}));
    const merge = (data: object) => ({ body: { data }, headers: { "content-type": MERGE } });
    await refused(() => api.call("PATCH", `${at}/it`, merge(DISALLOWED)), /unwanted data/);
    await api.ok("DELETE", configuration);
    await eventually(
      "nobody who denies",
      async () => (await api.call("PATCH", `${at}/it`, merge(DISALLOWED))).status === 200,
    );
    await register("Validating", "custom-denied", hook("custom-denied", "/custom", ["hooks.example.com", "denied"]));
    await refused(() => api.call("DELETE", `${at}/it${dry}`), /unwanted data/);
    await api.ok("PATCH", `${at}/it`, merge({ "webhook-e2e-test": null }));
    await api.ok("DELETE", `${at}/it`);
  });

  test("a webhook that cannot be reached refuses, or is passed over, as its policy says", async () => {
    const at = await namespace("closed");
    const unreachable = { clientConfig: client("/always-deny", 1) };
    const configuration = await register(
      "Validating",
      "closed",
      hook("closed", "/always-deny", ["", "configmaps"], unreachable),
    );
    const create = () => api.call("POST", `${at}/configmaps${dry}`, configMap("c"));
    assert.equal((await refused(create, /failed calling webhook "always-deny.example.com"/)).status, 500);
    const ignore = [{ op: "replace", path: "/webhooks/0/failurePolicy", value: "Ignore" }];
    await api.patch(configuration, ignore, JSON_PATCH);
    await eventually("a pass", async () => (await create()).status === 201);
  });

  test("an answer that takes too long is none: refused or passed over, as the policy says", async () => {
    const at = await namespace("slow");
    const slow = (more: object) => hook("slow", "/slow", ["", "configmaps"], more);
    const configuration = await register("Validating", "slow", slow({ timeoutSeconds: 1 }));
    const create = () => api.call("POST", `${at}/configmaps${dry}`, configMap("c"));
    await refused(create, /context deadline exceeded|timeout/i);
    await api.patch(configuration, { webhooks: [slow({ timeoutSeconds: 1, failurePolicy: "Ignore" })] });
    await eventually("a pass", async () => (await create()).status === 201);
    await api.patch(configuration, { webhooks: [slow({ timeoutSeconds: 30 })] });
    await eventually("a pass", async () => (await create()).status === 201);
  });

  test("ConfigMaps are changed by one after another, Pods before their defaults", async () => {
    const at = await namespace("mutating");
    await register(
      "Mutating",
      "mutating",
      hook("mutating", "/mutating-configmaps-1", ["", "configmaps"]),
      hook("mutating", "/mutating-configmaps-2", ["", "configmaps"]),
      hook("mutating", "/mutating-pods", ["", "pods"], {
        rules: [{ operations: ["CREATE"], apiGroups: [""], apiVersions: ["v1"], resources: ["pods"] }],
      }),
    );
    const started = configMap("c", { "mutation-start": "yes" });
    await eventuallyEqual("both steps", async () => (await api.ok("POST", `${at}/configmaps${dry}`, started)).data, {
      "mutation-stage-1": "yes",
      "mutation-stage-2": "yes",
      "mutation-start": "yes",
    });
    const spec = { containers: [{ name: "main", image: "pause" }] };
    const made = await eventually("an init container", async () => {
      const pod = await api.ok("POST", `${at}/pods${dry}`, { body: { metadata: { name: "p" }, spec } });
      return pod.spec.initContainers && pod;
    });
    const [init] = made.spec.initContainers;
    assert.deepEqual(
      [init.name, init.terminationMessagePolicy, init.imagePullPolicy],
      ["webhook-added-init-container", "File", "Always"],
    );
  });

  test("configurations of webhooks are nobody's to change or hold back", async () => {
    const everything = [
      { operations: ["*"], apiGroups: ["admissionregistration.k8s.io"], apiVersions: ["*"], resources: ["*"] },
    ];
    const open = { rules: everything, namespaceSelector: {} };
    await register("Validating", "grasping", hook("grasping", "/always-deny", ["", ""], open));
    await register("Mutating", "grasping", hook("grasping", "/always-deny", ["", ""], open));
    const dummy = await register("Validating", "dummy", hook("dummy", "/always-deny", ["", "configmaps"]));
    assert.equal((await api.ok("GET", dummy)).webhooks.length, 1);
    for (const at of [
      dummy,
      dummy.replace("dummy", "grasping"),
      dummy.replace("dummy", "grasping").replace("validating", "mutating"),
    ])
      assert.equal((await api.call("DELETE", at)).status, 200);
  });

  test("custom resources are changed, and pruned after that", async () => {
    const groupVersion = await custom("changed");
    const of = await namespace("custom-changed");
    await register(
      "Mutating",
      "custom-changed",
      hook("custom-changed", "/mutating-custom", ["hooks.example.com", "changed"]),
      hook("custom-changed", "/mutating-unknown", ["hooks.example.com", "changed"]),
    );
    const at = `${groupVersion}/namespaces/${of.split("/").at(-1)}/changed`;
    const body = {
      apiVersion: "hooks.example.com/v1",
      kind: "Changed",
      metadata: { name: "it" },
      data: { "mutation-start": "yes" },
    };
    await eventuallyEqual(
      "a changed object without what its schema does not know",
      async () => (await api.ok("POST", `${at}${dry}`, { body })).data,
      { "mutation-stage-1": "yes", "mutation-start": "yes" },
    );
  });

  test("definitions of custom resources can be denied", async () => {
    await register(
      "Validating",
      "definitions",
      hook("definitions", "/always-deny", ["apiextensions.k8s.io", "customresourcedefinitions"], {
        namespaceSelector: {},
        objectSelector: { matchLabels: { "webhook-e2e-test": "webhook-disallow" } },
      }),
    );
    const body = definition("unwanted", { labels: DISALLOWED });
    await refused(() => api.call("POST", `${CRDS}${dry}`, { body }), /denies all requests/);
    assert.equal((await api.call("POST", `${CRDS}${dry}`, { body: definition("wanted") })).status, 201);
  });

  for (const kind of ["Validating", "Mutating"] as const)
    test(`${kind} webhooks: rules updated and patched, listed, deleted together`, async () => {
      const of = `many-${kind.toLowerCase()}`;
      const at = await namespace(of);
      const path = kind === "Validating" ? "/configmaps" : "/mutating-configmaps-1";
      const configuration = await register(kind, of, hook(of, path, ["", "configmaps"]));
      const takesEffect = async () => {
        const answer = await api.call(
          "POST",
          `${at}/configmaps${dry}`,
          configMap("c", { ...DISALLOWED, "mutation-start": "yes" }),
        );
        return answer.status === 403 || answer.body.data["mutation-stage-1"] === "yes";
      };
      await eventually("an effect", takesEffect);
      const current = await api.ok("GET", configuration);
      current.webhooks[0].rules[0].operations = ["UPDATE"];
      await api.ok("PUT", configuration, { body: current });
      await eventually("no effect on creation", async () => !(await takesEffect()));
      await api.patch(
        configuration,
        [{ op: "replace", path: "/webhooks/0/rules/0/operations", value: ["CREATE"] }],
        JSON_PATCH,
      );
      await eventually("an effect", takesEffect);
      const folder = configuration.slice(0, configuration.lastIndexOf("/"));
      const selected = `${folder}?labelSelector=${encodeURIComponent(`of=${of}`)}`;
      assert.equal((await api.ok("GET", selected)).items.length, 1);
      await api.ok("DELETE", selected);
      await eventually("no effect", async () => !(await takesEffect()));
    });

  for (const kind of ["Validating", "Mutating"] as const)
    test(`${kind} webhooks: match conditions leave requests out, and what is no condition is refused`, async () => {
      const of = `conditions-${kind.toLowerCase()}`;
      const at = await namespace(of);
      const conditions = (expression: string) => ({ matchConditions: [{ name: "skip", expression }] });
      const skip = conditions("object.metadata.name != 'skip-me'");
      await register(kind, of, hook(of, "/always-deny", ["", "configmaps"], skip));
      await refused(() => api.call("POST", `${at}/configmaps${dry}`, configMap("c")), /denies all requests/);
      assert.equal((await api.call("POST", `${at}/configmaps${dry}`, configMap("skip-me"))).status, 201);
      const invalid = await register(kind, `${of}-wrong`, hook(of, "/pods", ["", "pods"], conditions("... [}"))).catch(
        String,
      );
      assert.match(invalid, /422.*webhooks\[0\]\.matchConditions\[0\]\.expression/);
    });

  test("conversion by webhook: one object, and lists of objects stored in different versions", async () => {
    const conversion = {
      strategy: "Webhook",
      webhook: { clientConfig: client("/convert"), conversionReviewVersions: ["v1"] },
    };
    const anything = { openAPIV3Schema: { type: "object", "x-kubernetes-preserve-unknown-fields": true } };
    const version = (name: string, storage: boolean) => ({ name, served: true, storage, schema: anything });
    const body = definition("converted", {}, { conversion, versions: [version("v1", true), version("v2", false)] });
    await api.ok("POST", CRDS, { body });
    const at = (v: string) => `/apis/hooks.example.com/${v}/namespaces/default/converted`;
    await eventually("v2", async () => (await api.call("GET", at("v2"))).status === 200);
    const object = (v: string, name: string, fields: object) => ({
      body: { apiVersion: `hooks.example.com/${v}`, kind: "Converted", metadata: { name }, ...fields },
    });
    await api.ok("POST", at("v1"), object("v1", "one", { hostPort: "localhost:8080" }));
    const { host, port } = await api.ok("GET", `${at("v2")}/one`);
    assert.deepEqual([host, port], ["localhost", "8080"]);
    const swapped = { spec: { versions: [version("v1", false), version("v2", true)] } };
    await api.patch(`${CRDS}/converted.hooks.example.com`, swapped);
    await eventually("v2 in the store", async () => {
      const { status } = await api.ok("GET", `${CRDS}/converted.hooks.example.com`);
      return status.storedVersions.includes("v2");
    });
    await api.ok("POST", at("v1"), object("v1", "two", { hostPort: "example.com:443" }));
    const [first, second] = (await api.ok("GET", at("v1"))).items;
    assert.deepEqual([first.hostPort, second.hostPort], ["localhost:8080", "example.com:443"]);
    assert.deepEqual(
      (await api.ok("GET", at("v2"))).items.map((one: Anything) => one.host),
      ["localhost", "example.com"],
    );
    const headers = { "content-type": APPLY };
    const applied = await api.ok("PATCH", `${at("v2")}/one?fieldManager=m&force=true`, {
      ...object("v2", "one", { port: "81" }),
      headers,
    });
    assert.equal(applied.port, "81");
  });
});

const definition = (plural: string, metadata: object = {}, spec: object = {}) => ({
  metadata: { name: `${plural}.hooks.example.com`, ...metadata },
  spec: {
    group: "hooks.example.com",
    scope: "Namespaced",
    names: { plural, kind: plural[0]!.toUpperCase() + plural.slice(1) },
    versions: [
      {
        name: "v1",
        served: true,
        storage: true,
        schema: {
          openAPIV3Schema: {
            type: "object",
            properties: {
              data: {
                type: "object",
                properties: {
                  "mutation-start": { type: "string" },
                  "mutation-stage-1": { type: "string" },
                  "webhook-e2e-test": { type: "string" },
                },
              },
            },
          },
        },
      },
    ],
    ...spec,
  },
});

/** Defines a kind of that plural and returns where its group and version are. */
async function custom(plural: string): Promise<string> {
  await api.ok("POST", CRDS, { body: definition(plural) });
  const at = "/apis/hooks.example.com/v1";
  await eventually(`${plural} are served`, async () => (await api.call("GET", `${at}/${plural}`)).status === 200);
  return at;
}
