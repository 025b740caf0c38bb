import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { allCredentials, credentialsFor, registryOf } from "./credentials.ts";

const directory = fs.mkdtempSync(path.join(os.tmpdir(), "berth-credentials-"));
after(() => fs.rmSync(directory, { recursive: true }));
const env = { DOCKER_CONFIG: directory, PATH: `${directory}:${process.env["PATH"]}` };
const config = (value: unknown) => fs.writeFileSync(path.join(directory, "config.json"), JSON.stringify(value));
const basic = (text: string) => ({ auth: Buffer.from(text).toString("base64") });

/** A helper that knows some registries, and writes down what it was asked. */
function helper(name: string, known: Record<string, object>): void {
  const cases = Object.entries(known).map(([registry, answer]) => `${registry}) echo '${JSON.stringify(answer)}';;`);
  const script = [
    "#!/bin/sh",
    "read -r registry || true",
    `echo "$1 $registry" >> ${directory}/asked-${name}`,
    `case "$registry" in ${cases.join(" ")} *) echo "credentials not found in native keychain"; exit 1;; esac`,
  ];
  fs.writeFileSync(path.join(directory, `docker-credential-${name}`), script.join("\n"), { mode: 0o755 });
}

test("a name says its registry", () => {
  assert.equal(registryOf("busybox"), "https://index.docker.io/v1/");
  assert.equal(registryOf("docker.io/library/busybox:1"), "https://index.docker.io/v1/");
  assert.equal(registryOf("some/thing"), "https://index.docker.io/v1/");
  assert.equal(registryOf("localhost/thing"), "localhost");
  assert.equal(registryOf("r.example:5000/a/b@sha256:00"), "r.example:5000");
});

test("stored credentials are read, in each form that docker login has written", async () => {
  fs.rmSync(path.join(directory, "config.json"), { force: true });
  assert.equal(await credentialsFor("r.example", env), undefined);
  config({
    auths: {
      "r.example": basic("ann:pass:word"),
      "https://old.example": basic("bob:x"),
      "t.example": { identitytoken: "tok" },
    },
  });
  const ann = { username: "ann", password: "pass:word", serveraddress: "r.example" };
  assert.deepEqual(await credentialsFor("r.example", env), ann);
  assert.equal((await credentialsFor("old.example", env))?.username, "bob");
  assert.equal((await credentialsFor("t.example", env))?.identitytoken, "tok");
  assert.equal(await credentialsFor("other.example", env), undefined);
  assert.deepEqual((await allCredentials(env))["r.example"], ann);
});

test("a registry's own helper is asked before the store, and the store before what is written down", async () => {
  helper("own", { "own.example": { Username: "<token>", Secret: "refresh" } });
  helper("store", { "store.example": { Username: "ann", Secret: "secret" } });
  config({ credHelpers: { "own.example": "own" }, credsStore: "store", auths: { "none.example": basic("a:b") } });
  assert.deepEqual(await credentialsFor("own.example", env), {
    identitytoken: "refresh",
    serveraddress: "own.example",
  });
  const ann = { username: "ann", password: "secret", serveraddress: "store.example" };
  assert.deepEqual(await credentialsFor("store.example", env), ann);
  assert.equal(await credentialsFor("none.example", env), undefined);
  assert.equal(fs.readFileSync(path.join(directory, "asked-own"), "utf8"), "get own.example\n");
});

test("what is wrong is said: no such helper, one that fails, one that babbles, a broken file", async () => {
  config({ credsStore: "absent" });
  await assert.rejects(credentialsFor("r.example", env), /docker-credential-absent is not installed/);
  config({ credsStore: "../evil" });
  await assert.rejects(credentialsFor("r.example", env), /is no name of a credential helper/);
  fs.writeFileSync(path.join(directory, "docker-credential-locked"), "#!/bin/sh\necho locked; exit 3", { mode: 0o755 });
  config({ credsStore: "locked" });
  await assert.rejects(credentialsFor("r.example", env), /docker-credential-locked failed: locked/);
  fs.writeFileSync(path.join(directory, "docker-credential-babbling"), "#!/bin/sh\necho hello", { mode: 0o755 });
  config({ credsStore: "babbling" });
  await assert.rejects(credentialsFor("r.example", env), /no JSON/);
  fs.writeFileSync(path.join(directory, "config.json"), "{");
  await assert.rejects(credentialsFor("r.example", env), /config.json is no readable JSON/);
});
