import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLogger } from "../../base/index.ts";
import { FakeSockets } from "../../host/index.ts";
import { LocalhostPorts } from "./localhost-ports.ts";

const http = { protocol: "tcp", port: 80 } as const;

test("of two Services the first has the port, and the second gets it when the first gives it back", () => {
  const ports = new LocalhostPorts(new FakeSockets(), silentLogger);
  assert.deepEqual([...ports.claim("default/a", [http]).ports], ["tcp/80"]);
  assert.deepEqual([...ports.claim("default/a", [http]).ports], ["tcp/80"], "asking again changes nothing");
  const second = ports.claim("default/b", [http]);
  assert.deepEqual(second, { ports: new Set(), clashes: [{ ...http, heldBy: "default/a" }] });
  ports.claim("default/a", []);
  assert.deepEqual([...ports.claim("default/b", [http]).ports], ["tcp/80"]);
});

test("a program of the machine keeps its port", () => {
  const sockets = new FakeSockets();
  const own = sockets.bind({ protocol: "tcp", address: "0.0.0.0", port: 80 });
  const ports = new LocalhostPorts(sockets, silentLogger);
  assert.deepEqual(ports.claim("default/a", [http]).clashes, [http]);
  own.close();
  assert.deepEqual(ports.claim("default/a", [http]).clashes, []);
  ports.close();
  assert.equal(sockets.bound.size, 0);
});
