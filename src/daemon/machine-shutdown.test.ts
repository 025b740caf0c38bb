import assert from "node:assert/strict";
import { test } from "node:test";
import { machineGoesDown } from "./machine-shutdown.ts";

test("only a machine that systemd is stopping goes down", async () => {
  const system = (hasSystemd: boolean, state: () => Promise<string>) => ({ hasSystemd: () => hasSystemd, state });
  assert.equal(await machineGoesDown(system(true, async () => "stopping")), true);
  assert.equal(await machineGoesDown(system(true, async () => "running")), false);
  assert.equal(await machineGoesDown(system(false, async () => "stopping")), false);
  assert.equal(await machineGoesDown(system(true, () => Promise.reject(new Error("no systemctl")))), false);
});
