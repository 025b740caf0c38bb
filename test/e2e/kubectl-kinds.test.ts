/** Real kubectls against a cluster's API in this process: what they print for built-in and custom kinds, word by word. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";

import { openCluster } from "../../src/apiserver/index.ts";
import type { Cluster } from "../../src/apiserver/index.ts";
import { createLogger, systemClock, systemRandom } from "../../src/base/index.ts";
import { openMemoryStore } from "../../src/storage/index.ts";

const versions = ["1.28", "1.29", "1.31", "1.32", "1.33"]
  .map((version) => `/usr/lib/google-cloud-sdk/bin/kubectl.${version}`)
  .filter((file) => existsSync(file));
const kubectls = ["kubectl", ...versions];

let folder: string;
let cluster: Cluster;

before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "berth-kubectl-"));
  cluster = await openCluster({
    store: await openMemoryStore(),
    clock: systemClock,
    random: systemRandom,
    log: createLogger({ write: () => {} }),
    folder: path.join(folder, "pki"),
    port: 0,
  });
  await writeFile(path.join(folder, "config"), cluster.kubeconfig("test"), { mode: 0o600 });
});

after(async () => {
  await cluster.close();
  await rm(folder, { recursive: true, force: true });
});

/** Standard output and error together, as a user sees them. */
function run(program: string, args: readonly string[], input = ""): Promise<string> {
  const env = { ...process.env, KUBECONFIG: path.join(folder, "config"), HOME: folder };
  return new Promise((resolve) => {
    const child = execFile(program, args, { env, timeout: 30_000 }, (_error, stdout, stderr) =>
      resolve((stdout + stderr).trim()),
    );
    child.stdin!.end(input);
  });
}

/** Ages and random names differ from run to run. */
const steady = (text: string): string =>
  text
    .replace(/\b\d+(ms|s|m\d*s?)(?=\s|$)/gm, "AGE")
    .replace(/10\.96\.\d+\.\d+/g, "10.96.X.X")
    .replace(/:3[0-2]\d{3}\//g, ":NODE/")
    .replace(/ +/g, " ");

for (const program of kubectls) {
  const name = path.basename(program).replace(/\W/g, "-");
  test(`${name}: create, get, change and refuse built-in kinds`, async () => {
    const kubectl = async (line: string, input = "") =>
      steady(await run(program, ["-n", name, ...line.split(" ")], input));
    assert.equal(await kubectl(`create namespace ${name}`), `namespace/${name} created`);
    assert.equal(await kubectl("create serviceaccount default"), "serviceaccount/default created");
    assert.equal(await kubectl("create deployment web --image=nginx --replicas=2"), "deployment.apps/web created");
    assert.equal(
      await kubectl("get deployment web -o wide"),
      "NAME READY UP-TO-DATE AVAILABLE AGE CONTAINERS IMAGES SELECTOR\nweb 0/2 0 0 AGE nginx nginx app=web",
    );
    assert.equal(await kubectl("run p --image=busybox --port=80"), "pod/p created");
    assert.equal(await kubectl("get pods"), "NAME READY STATUS RESTARTS AGE\np 0/1 Pending 0 AGE");
    assert.equal(await kubectl("expose pod p --port=80 --type=NodePort"), "service/p exposed");
    assert.equal(
      await kubectl("get services"),
      "NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE\np NodePort 10.96.X.X <none> 80:NODE/TCP AGE",
    );
    assert.equal(await kubectl("scale deployment web --replicas=3"), "deployment.apps/web scaled");
    assert.equal(await kubectl("set image deployment/web nginx=nginx:2"), "deployment.apps/web image updated");
    assert.match(
      await kubectl('patch deployment web -p {"spec":{"selector":{"matchLabels":{"app":"b"}}}}'),
      /^The Deployment "web" is invalid: \n\* spec\.template\.metadata\.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`\n\* spec\.selector: Invalid value: {"matchLabels":{"app":"b"}}: field is immutable$/,
    );
    assert.equal(
      await kubectl("create configmap Bad --from-literal=a=b"),
      `error: failed to create configmap: ConfigMap "Bad" is invalid: metadata.name: Invalid value: "Bad": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`,
    );
    assert.equal(await kubectl("auth can-i create pods --as jane"), "no");
    assert.equal(await kubectl("create quota q --hard=configmaps=1"), "resourcequota/q created");
    assert.match(await kubectl("auth whoami"), /Username kubernetes-admin/);
    assert.match(await kubectl("delete pod p"), /^pod "p" deleted/);
  });
}

const definition = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: crontabs.stable.example.com}
spec:
  group: stable.example.com
  scope: Namespaced
  names: {plural: crontabs, singular: crontab, kind: CronTab, shortNames: [ct]}
  versions:
  - name: v1
    served: true
    storage: true
    additionalPrinterColumns:
    - {name: Replicas, type: integer, jsonPath: .spec.replicas}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            x-kubernetes-validations: [{rule: "self.replicas < 5"}]
            properties:
              replicas: {type: integer, maximum: 10, default: 1}
`;

test("kubectl: a CustomResourceDefinition from apply to delete", async () => {
  const kubectl = async (line: string, input = "") => steady(await run("kubectl", line.split(" "), input));
  const tab = (name: string, spec: string) =>
    `apiVersion: stable.example.com/v1\nkind: CronTab\nmetadata: {name: ${name}}\nspec: ${spec}\n`;
  assert.equal(
    await kubectl("apply -f -", definition),
    "customresourcedefinition.apiextensions.k8s.io/crontabs.stable.example.com created",
  );
  assert.match(
    await kubectl("wait --for condition=established crd/crontabs.stable.example.com --timeout=10s"),
    /condition met$/,
  );
  assert.equal(await kubectl("apply -f -", tab("mine", "{}")), "crontab.stable.example.com/mine created");
  assert.equal(await kubectl("get ct"), "NAME REPLICAS\nmine 1");
  assert.equal(
    await kubectl("apply -f -", tab("bad", "{replicas: 11}")),
    'The CronTab "bad" is invalid: spec.replicas: Invalid value: 11: spec.replicas in body should be less than or equal to 10',
  );
  assert.equal(
    await kubectl("apply -f -", tab("bad", "{replicas: 7}")),
    'The CronTab "bad" is invalid: spec: Invalid value: "object": failed rule: self.replicas < 5',
  );
  assert.match(await kubectl("delete crd crontabs.stable.example.com --timeout=10s"), /deleted/);
  assert.equal(await kubectl("get crd"), "No resources found");
});
