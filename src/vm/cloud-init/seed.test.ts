import assert from "node:assert/strict";
import { test } from "node:test";
import { seedFiles } from "./seed.ts";

const KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZa me@here";
const link = {
  macAddress: "52:54:00:00:00:01",
  addresses: ["10.0.0.2/24"],
  gateway: "10.0.0.1",
  nameServers: ["10.0.0.1"],
};

function parse(text: string): Record<string, unknown> {
  return JSON.parse(text.replace(/^#cloud-config\n/, "")) as Record<string, unknown>;
}

test("a machine is told its name, its login and its network", () => {
  const files = seedFiles({
    instanceId: "i-1",
    hostname: "web",
    user: { name: "dev", sshKeys: [KEY] },
    interfaces: [link, { macAddress: "52:54:00:00:00:02" }],
  });
  assert.deepEqual(parse(files.get("meta-data")!), { "instance-id": "i-1", "local-hostname": "web" });
  assert.ok(files.get("user-data")!.startsWith("#cloud-config\n"));
  const [user] = parse(files.get("user-data")!)["users"] as Array<Record<string, unknown>>;
  assert.deepEqual([user!["name"], user!["ssh_authorized_keys"], user!["lock_passwd"]], ["dev", [KEY], true]);
  assert.deepEqual(parse(files.get("network-config")!), {
    version: 2,
    ethernets: {
      net0: {
        match: { macaddress: link.macAddress },
        dhcp4: false,
        addresses: ["10.0.0.2/24"],
        routes: [{ to: "0.0.0.0/0", via: "10.0.0.1" }],
        nameservers: { addresses: ["10.0.0.1"] },
      },
      net1: { match: { macaddress: "52:54:00:00:00:02" }, dhcp4: true },
    },
  });
});

test("user-data of the user's own is passed on untouched", () => {
  const own = "#!/bin/sh\necho hello\n";
  assert.equal(seedFiles({ instanceId: "i-1", hostname: "web", userData: own, interfaces: [] }).get("user-data"), own);
});

for (const [what, facts] of [
  ["a hostname", { hostname: "a b" }],
  ["a user's name", { user: { name: "Root!", sshKeys: [] } }],
  ["an ssh key", { user: { name: "dev", sshKeys: ["-----BEGIN OPENSSH PRIVATE KEY-----"] } }],
  ["user-data", { userData: "x".repeat(2 ** 20 + 1) }],
] as const) {
  test(`refuses ${what} that cannot be meant`, () => {
    assert.throws(() => seedFiles({ instanceId: "i-1", hostname: "web", interfaces: [], ...facts }), {
      code: "invalidArgument",
    });
  });
}
