import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock, settle, silentLogger } from "../base/index.ts";
import { Supervisor, type Service } from "./supervisor.ts";

function recorder() {
  const steps: string[] = [];
  const service = (
    name: string,
    dependsOn: Service[] = [],
    start: () => Promise<void> = async () => {},
  ): Service<string> => ({
    name,
    dependsOn,
    async start() {
      steps.push(`start ${name}`);
      await start();
      steps.push(`ready ${name}`);
      return { value: `value of ${name}`, stop: () => void steps.push(`stop ${name}`) };
    },
  });
  return { steps, service };
}

test("services start when their dependencies are ready and stop in reverse", async () => {
  const { steps, service } = recorder();
  const store = service("store", [], settle);
  const engine = service("engine");
  const api = service("api", [store, engine]);
  const supervisor = new Supervisor(new FakeClock(), silentLogger);
  await supervisor.start([store, engine, api]);
  assert.deepEqual(steps, ["start store", "start engine", "ready engine", "ready store", "start api", "ready api"]);
  await supervisor.stop();
  assert.deepEqual(steps.slice(6), ["stop api", "stop engine", "stop store"]);
  assert.deepEqual(
    supervisor.status().map(({ state }) => state),
    ["stopped", "stopped", "stopped"],
  );
});

test("a service uses what it declared, and nothing else", async () => {
  const { service } = recorder();
  const store = service("store");
  const other = service("other");
  let seen = "";
  const api: Service<void> = {
    name: "api",
    dependsOn: [store],
    async start(use) {
      seen = use(store);
      assert.throws(() => use(other), /did not declare other/);
      return { value: undefined };
    },
  };
  await new Supervisor(new FakeClock(), silentLogger).start([store, other, api]);
  assert.equal(seen, "value of store");
});

test("when one fails, what waits never starts, and stop ends what had started", async () => {
  const { steps, service } = recorder();
  const store = service("store");
  const broken = service("broken", [store], () => Promise.reject(new Error("disk is gone")));
  const api = service("api", [broken]);
  const supervisor = new Supervisor(new FakeClock(), silentLogger);
  await assert.rejects(supervisor.start([store, broken, api]), /broken did not start: disk is gone/);
  await supervisor.stop();
  assert.deepEqual(steps, ["start store", "ready store", "start broken", "stop store"]);
});

test("a service that never gets ready does not hold up the end", async () => {
  const { steps, service } = recorder();
  const clock = new FakeClock();
  const stuck = service("stuck", [], () => new Promise(() => {}));
  const broken = service("broken", [], () => Promise.reject(new Error("no")));
  const supervisor = new Supervisor(clock, silentLogger);
  await assert.rejects(supervisor.start([stuck, broken]), /broken did not start/);
  const stopping = supervisor.stop();
  await clock.advance(10_000);
  await stopping;
  assert.deepEqual(steps, ["start stuck", "start broken"]);
});

test("a dependency must be listed before who needs it", async () => {
  const { service } = recorder();
  const store = service("store");
  await assert.rejects(
    new Supervisor(new FakeClock(), silentLogger).start([service("api", [store]), store]),
    /not listed before/,
  );
});
