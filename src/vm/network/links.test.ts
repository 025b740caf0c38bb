import assert from "node:assert/strict";
import { test } from "node:test";
import { routesFor } from "./links.ts";

const link = (name: string, ...addresses: string[]) => ({
  name,
  addresses,
  macAddress: "02:00:00:00:00:01",
  mtu: 1500,
});

test("a gateway outside of the link's own network is reached on the link all the same", () => {
  const links = [link("eth0", "10.2.1.7/32"), link("eth1", "172.18.0.2/16", "fd00::2/64")];
  const routes = [
    { destination: "0.0.0.0/0", gateway: "10.2.1.1", link: "eth0" },
    { destination: "10.9.0.0/16", gateway: "172.18.0.1", link: "eth1" },
    { destination: "::/0", gateway: "fe80::1", link: "eth1" },
  ];
  assert.deepEqual(
    routesFor({ links, routes }, (name) => (name === "eth0" ? 3 : 4)),
    [
      { destination: "10.2.1.1/32", link: 3 },
      { destination: "0.0.0.0/0", gateway: "10.2.1.1", link: 3 },
      { destination: "10.9.0.0/16", gateway: "172.18.0.1", link: 4 },
      { destination: "fe80::1/128", link: 4 },
      { destination: "::/0", gateway: "fe80::1", link: 4 },
    ],
  );
});
