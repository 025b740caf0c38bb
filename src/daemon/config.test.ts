import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { loadConfig } from "./config.ts";

const directory = mkdtempSync(path.join(os.tmpdir(), "berth-config-"));
after(() => rmSync(directory, { recursive: true }));
const file = path.join(directory, "daemon.json");

function withFile(content: unknown) {
  writeFileSync(file, typeof content === "string" ? content : JSON.stringify(content));
  return { BERTH_CONFIG: file };
}

test("defaults, then file, then environment, then flags", () => {
  const none = loadConfig({ BERTH_CONFIG: path.join(directory, "absent") });
  assert.equal(none.instance, "default");
  assert.equal(none.dataDir, "/var/lib/berth/default");
  const env = withFile({ "log-level": "debug", "registry-mirrors": ["http://a"], group: "ops" });
  assert.deepEqual([loadConfig(env).logLevel, loadConfig(env).socketGroups], ["debug", ["ops"]]);
  assert.deepEqual(loadConfig({ ...env, BERTH_REGISTRY_MIRRORS: "http://b http://c" }).registryMirrors, [
    "http://b",
    "http://c",
  ]);
  assert.equal(loadConfig(env, { logLevel: "error" }).logLevel, "error");
  const transfers = { "max-concurrent-downloads": 2, "max-concurrent-uploads": 0, "max-download-attempts": 7 };
  assert.deepEqual(loadConfig(withFile(transfers)).docker.transfers, { downloads: 2, uploads: Infinity, attempts: 7 });
});

test("bad configuration names the file and the key", () => {
  assert.throws(() => loadConfig(withFile({ "log-levle": "debug" })), /unknown key "log-levle" in .*daemon\.json/);
  assert.throws(() => loadConfig(withFile({ "log-level": "loud" })), /"log-level" must be one of/);
  assert.throws(() => loadConfig(withFile({ iptables: false })), /"iptables": false is not possible/);
  const bridge = { icc: false, "ip-masq": false, mtu: 1400 };
  assert.deepEqual(loadConfig(withFile(bridge)).docker.bridge, { icc: false, masquerade: false, mtu: 1400 });
  assert.throws(() => loadConfig(withFile("{")), /daemon\.json is not JSON/);
  assert.throws(() => loadConfig({ BERTH_INSTANCE: "Not OK" }), /invalid instance name/);
});

test("stub domains are zones with the addresses of their servers", () => {
  const zones = { "Corp.Example.": ["10.0.0.53", "10.0.0.54:5353", "[fd00::53]:53"] };
  assert.deepEqual(loadConfig(withFile({ "stub-domains": zones })).stubDomains, {
    "corp.example": zones["Corp.Example."],
  });
  for (const servers of [[], ["ns.corp.example"]])
    assert.throws(() => loadConfig(withFile({ "stub-domains": { corp: servers } })), /stub-domains.corp/);
});

test("TCP only with certificates", () => {
  assert.throws(() => loadConfig(withFile({ hosts: ["tcp://0.0.0.0:2376"] })), /needs tlscacert, tlscert and tlskey/);
  const tls = { tlscacert: "ca", tlscert: "c", tlskey: "k" };
  assert.deepEqual(loadConfig(withFile({ hosts: ["tcp://0.0.0.0:2376", "unix:///x"], ...tls })).tcpHosts, [
    "tcp://0.0.0.0:2376",
  ]);
});
