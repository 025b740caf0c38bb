import assert from "node:assert/strict";
import { test } from "node:test";
import { attachedNetwork, machineNetwork } from "./attached.ts";

const attached = {
  netnsPath: "/nowhere/netns",
  network: "pod",
  nameServers: ["10.1.0.10"],
  searchDomains: ["cluster.local"],
  guest: {
    links: [{ name: "eth0", macAddress: "02:00:00:00:00:01", mtu: 1450, addresses: ["10.2.1.7/32", "fd00::7/128"] }],
    routes: [
      { destination: "10.2.1.1/32", link: "eth0" },
      { destination: "0.0.0.0/0", gateway: "10.2.1.1", link: "eth0" },
    ],
  },
};

test("a machine gets the address of its Pod, in one network with the gateway", () => {
  const { addresses, interfaces, taps, ports } = machineNetwork(attached);
  assert.deepEqual(taps, [{ name: "tap0", macAddress: "02:00:00:00:00:01" }]);
  assert.deepEqual(ports, []);
  assert.equal(addresses[0]!.ipv4Address, "10.2.1.7");
  assert.deepEqual(interfaces, [
    {
      macAddress: "02:00:00:00:00:01",
      addresses: ["10.2.1.7/24"],
      gateway: "10.2.1.1",
      nameServers: ["10.1.0.10"],
      searchDomains: ["cluster.local"],
      mtu: 1450,
    },
  ]);
  const guest = { ...attached.guest, links: [{ ...attached.guest.links[0]!, addresses: ["10.2.9.7/32"] }] };
  assert.deepEqual(machineNetwork({ ...attached, guest }).interfaces[0]!.addresses, ["10.2.9.7/20"]);
});

test("a namespace that is gone is no network", () => {
  assert.equal(attachedNetwork(attached), undefined);
});
