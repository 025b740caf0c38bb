import assert from "node:assert/strict";
import { test } from "node:test";
import { identityTasks } from "./setup.ts";

const link = (name: string, address: string) => ({
  name,
  macAddress: "02:00:00:00:00:01",
  mtu: 1500,
  addresses: [address],
});
const request = { id: "one", netnsPath: "/netns", hostname: "box", sysctls: { "net.ipv4.ip_forward": "1" } };
const NONE = { links: [], routes: [] };
/** Type and link of each request to the guest's kernel: nlmsghdr's type, and the index in the header behind it (routes have none there). */
const requests = (tasks: readonly string[]) =>
  tasks
    .filter((task) => task.startsWith("netlink "))
    .map((task) => Buffer.from(task.slice("netlink ".length), "hex"))
    .map((message) => [message.readUInt16LE(4), message.readUInt32LE(20)]);
const [SET_LINK, ADDRESS, ROUTE, NEIGHBOUR] = [19, 20, 24, 28];

test("a machine gets its share, name and settings; a card that nobody's network is behind leaves the containers", () => {
  const tasks = identityTasks(request, NONE, 1);
  assert.deepEqual(tasks.slice(0, 3), ["share", "hostname box", "sysctl net/ipv4/ip_forward 1"]);
  assert.deepEqual(requests(tasks), [[SET_LINK, 3]]);
  assert.deepEqual(requests(identityTasks(request, NONE, 0)), []);
});

test("cards take names, addresses, routes and the resolver's place; several give up the names they had first", () => {
  const links = [link("eth0", "10.0.0.2/24"), link("eth1", "10.1.0.2/24")];
  const routes = [{ destination: "0.0.0.0/0", gateway: "10.0.0.1", link: "eth0" }];
  const found = requests(identityTasks(request, { links, routes }, 2));
  const types = found.map(([type]) => type);
  assert.deepEqual(types, [SET_LINK, SET_LINK, SET_LINK, ADDRESS, SET_LINK, ADDRESS, ROUTE, ROUTE, NEIGHBOUR]);
  assert.deepEqual(
    found.slice(0, 6).map(([, index]) => index),
    [3, 4, 3, 3, 4, 4],
  );
  assert.equal(requests(identityTasks(request, { links: links.slice(0, 1), routes }, 1)).length, 5);
});
