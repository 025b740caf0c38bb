/** Real kubectls against the API server alone, on a durable store: what they print is what they print against upstream. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { builtinKinds, createApiServer, type ApiServer, type Listener } from "../../src/apiserver/index.ts";
import { silentLogger, systemClock, systemRandom } from "../../src/base/index.ts";
import { openSqliteStore, type Store } from "../../src/storage/index.ts";

const SDK = "/usr/lib/google-cloud-sdk/bin";
const CLIENTS = ["1.28", "1.29", "1.31", "1.32", "1.33"]
  .map((version) => `${SDK}/kubectl.${version}`)
  .filter((file) => existsSync(file));
const folder = mkdtempSync(path.join(tmpdir(), "berth-kubectl-"));
const server: { store?: Store; api?: ApiServer; listener?: Listener } = {};

before(async () => {
  server.store = await openSqliteStore({ file: path.join(folder, "store.db") });
  const base = { clock: systemClock, random: systemRandom, log: silentLogger };
  server.api = await createApiServer({ ...base, store: server.store, kinds: builtinKinds() });
  server.listener = await server.api.listen();
  const namespace = { apiVersion: "v1", kind: "Namespace", metadata: { name: "default" } };
  const request = { method: "POST", path: "/api/v1/namespaces", query: new URLSearchParams(), headers: {} } as const;
  await server.api.handler({ ...request, object: namespace });
});
after(async () => {
  await server.api?.close();
  await server.store?.close();
  rmSync(folder, { recursive: true, force: true });
});

interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly error: string;
}

function kubectl(client: string, line: string, input = ""): Promise<Outcome> {
  const words = line.split(" ");
  const args = [
    "--server",
    `http://127.0.0.1:${server.listener!.port}`,
    "--cache-dir",
    path.join(folder, path.basename(client)),
    ...words,
  ];
  const child = spawn(client, args, { env: { PATH: process.env["PATH"], HOME: folder, KUBECONFIG: "/dev/null" } });
  const chunks = { out: "", error: "" };
  child.stdout.on("data", (chunk) => (chunks.out += chunk));
  child.stderr.on("data", (chunk) => (chunks.error += chunk));
  child.stdin.on("error", () => undefined);
  child.stdin.end(input);
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => resolve({ code: code ?? -1, ...chunks }));
  });
}

const manifest = (replicas: number, image: string) => `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: ${replicas}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: "${image}", ports: [{containerPort: 80}]}]}
`;

for (const client of CLIENTS) {
  describe(path.basename(client), () => {
    const run = (line: string, input?: string) => kubectl(client, line, input);
    const prints = async (line: string, expected: string | RegExp, input?: string) => {
      const { code, out, error } = await run(line, input);
      assert.equal(code, 0, `kubectl ${line}: ${error}`);
      if (typeof expected === "string") assert.equal(out.trim(), expected);
      else assert.match(out, expected);
    };
    const fails = async (line: string, expected: string | RegExp, input?: string) => {
      const { code, error } = await run(line, input);
      assert.notEqual(code, 0, `kubectl ${line} succeeded`);
      if (typeof expected === "string") assert.equal(error.trim(), expected);
      else assert.match(error, expected);
    };

    it("creates, shows, changes and deletes a ConfigMap", async () => {
      await prints("create configmap x --from-literal=a=b", "configmap/x created");
      await fails("create configmap x", 'error: failed to create configmap: configmaps "x" already exists');
      await prints("get cm x", /^NAME\s+DATA\s+AGE\nx\s+1\s+\d+s\n$/);
      await prints("get cm x -o jsonpath={.data.a}", "b");
      await prints('patch cm x --type=merge -p {"data":{"c":"d"}}', "configmap/x patched");
      await prints("label cm x tier=one", "configmap/x labeled");
      await prints("annotate cm x note=two", "configmap/x annotated");
      await prints("get cm -l tier=one -o name", "configmap/x");
      await prints("delete cm x", /^configmap "x" deleted/);
      await fails("get cm x", 'Error from server (NotFound): configmaps "x" not found');
    });

    it("applies on the client's side and on the server's, and tells conflicts", async () => {
      await prints("apply -f -", "deployment.apps/web created", manifest(2, "nginx:1"));
      await prints("apply -f -", "deployment.apps/web unchanged", manifest(2, "nginx:1"));
      await prints("apply -f -", "deployment.apps/web configured", manifest(3, "nginx:2"));
      await prints("set image deploy/web c=nginx:4", "deployment.apps/web image updated");
      await fails(
        "apply --server-side --field-manager=other -f -",
        /Apply failed with 1 conflict: conflict with "kubectl-set" using apps\/v1/,
        manifest(3, "nginx:5"),
      );
      await prints(
        "apply --server-side --force-conflicts -f -",
        "deployment.apps/web serverside-applied",
        manifest(3, "nginx:5"),
      );
      await prints("scale deploy web --replicas=7", "deployment.apps/web scaled");
      await prints(
        "get deploy web -o jsonpath={.spec.replicas},{.spec.template.spec.containers[0].image},{.metadata.generation}",
        "7,nginx:5,5",
      );
      await prints("delete deploy web", /deleted/);
    });

    it("tells what is wrong with a manifest", async () => {
      const unknown = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: yy}\nfoo: 1\n";
      await fails("create -f -", /strict decoding error: unknown field "foo"/, unknown);
      const invalid = manifest(-1, "nginx");
      await fails(
        "create -f -",
        /The Deployment "web" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0/,
        invalid,
      );
      const { code, error } = await run("create --validate=warn -f -", unknown);
      assert.deepEqual([code, error.trim()], [0, 'Warning: unknown field "foo"']);
      await prints("delete cm yy", /deleted/);
    });

    it("finds resources, explains them, and watches", async () => {
      await prints("api-resources -o name", /^configmaps\n[\s\S]*deployments\.apps\n/m);
      await prints(
        "explain deployment.spec.strategy",
        /KIND:\s+Deployment[\s\S]*rollingUpdate\s+<RollingUpdateDeployment>/,
      );
      await prints("create secret generic s --from-literal=p=q", "secret/s created");
      await prints("get secrets -w --request-timeout=1s -o name", "secret/s");
      await prints("delete secret s", /deleted/);
    });
  });
}
