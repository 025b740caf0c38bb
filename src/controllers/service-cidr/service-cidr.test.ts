import assert from "node:assert/strict";
import { test } from "node:test";
import { resources } from "../../client/index.ts";
import { world } from "../testing/world.ts";
import { serviceCidrController } from "./index.ts";

test("a range is ready at once, and stays until its addresses are free or another range has them", async () => {
  const w = await world([serviceCidrController]);
  const cidrs = w.client.of(resources.serviceCidrs);
  const addresses = w.client.of(resources.ipAddresses);
  const ready = async (name: string) =>
    (await cidrs.get({ name })).status?.conditions?.map(({ type, status, reason }) => `${type} ${status} ${reason}`);
  const names = async () => (await cidrs.list()).items.map(({ metadata }) => metadata.name);
  await cidrs.create({ metadata: { name: "more" }, spec: { cidrs: ["10.3.0.0/24"] } });
  await addresses.create({ metadata: { name: "10.3.0.7" } });
  await w.rest();
  assert.deepEqual(await ready("more"), ["Ready True "]);
  await cidrs.delete({ name: "more" });
  await w.rest(20_000);
  assert.deepEqual(await ready("more"), ["Ready False Terminating"]);
  await cidrs.create({ metadata: { name: "wider" }, spec: { cidrs: ["10.3.0.0/16"] } });
  await w.rest(20_000);
  assert.deepEqual(await names(), ["wider"]);
  await cidrs.delete({ name: "wider" });
  await w.rest(20_000);
  assert.deepEqual(await names(), ["wider"]);
  const services = w.client.of(resources.services);
  const web = { name: "web", namespace: "default" };
  await services.create({ metadata: web, spec: { clusterIP: "10.3.9.9" } });
  await addresses.delete({ name: "10.3.0.7" });
  await w.rest(20_000);
  assert.deepEqual(await names(), ["wider"]);
  await services.delete(web);
  await w.rest(20_000);
  assert.deepEqual(await names(), []);
  await w.close();
});
