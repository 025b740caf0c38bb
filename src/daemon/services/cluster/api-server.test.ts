import assert from "node:assert/strict";
import net from "node:net";
import { test } from "node:test";
import { silentLogger, unavailable } from "../../../base/index.ts";
import { openOnFreePort } from "./api-server.ts";

test("two daemons that want one port at once: who comes second takes another", async () => {
  const tried: number[] = [];
  const open = async (port: number) => {
    tried.push(port);
    if (port !== 0)
      throw unavailable("cannot listen", { cause: Object.assign(new Error("in use"), { code: "EADDRINUSE" }) });
    return "open";
  };
  const probe = net.createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => probe.once("listening", resolve));
  const { port } = probe.address() as net.AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  assert.equal(await openOnFreePort(open, port, silentLogger), "open");
  assert.deepEqual(tried, [port, 0]);
  const broken = () => Promise.reject(unavailable("something else"));
  await assert.rejects(openOnFreePort(broken, port, silentLogger), /something else/);
});
