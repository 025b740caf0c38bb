import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock, settle } from "../../base/index.ts";
import { createFairness } from "./fairness.ts";
import type { RequestInfo, Seat } from "./pipeline.ts";

const info: RequestInfo = {
  isResource: true,
  verb: "list",
  path: "/api/v1/pods",
  group: "",
  version: "v1",
  namespace: "",
  resource: "pods",
  subresource: "",
  name: "",
  tail: "",
};
const user = (name: string, ...groups: string[]) => ({ name, groups });

test("a flood waits behind itself: another user is served next", async () => {
  const fairness = createFairness({ clock: new FakeClock(), seats: { "workload-low": 1 } });
  const first = (await fairness.enter(info, user("flood"), undefined)) as Seat;
  const order: string[] = [];
  const enter = async (name: string) => {
    const seat = await fairness.enter(info, user(name), undefined);
    order.push(name);
    await settle();
    seat.leave();
  };
  const all = [...Array.from({ length: 5 }, () => enter("flood")), enter("quiet")];
  first.leave();
  await Promise.all(all);
  assert.deepEqual(order, ["flood", "quiet", "flood", "flood", "flood", "flood"]);
});

test("too long a line and too long a wait are refused with a time to come back; administrators are exempt", async () => {
  const clock = new FakeClock();
  const fairness = createFairness({ clock, seats: { "workload-low": 1 }, maxWaitingPerUser: 1, maxWaitMs: 1000 });
  await fairness.enter(info, user("a"), undefined);
  const waiting = fairness.enter(info, user("a"), undefined) as Promise<Seat>;
  assert.throws(() => fairness.enter(info, user("a"), undefined), { code: "resourceExhausted" });
  await fairness.enter(info, user("admin", "system:masters"), undefined);
  const refused = assert.rejects(waiting, {
    code: "resourceExhausted",
    details: { retryAfterSeconds: 1, level: "workload-low" },
  });
  await clock.advance(1001);
  await refused;
});

test("who goes away while waiting leaves the line", async () => {
  const fairness = createFairness({ clock: new FakeClock(), seats: { "workload-low": 1 } });
  const seat = await fairness.enter(info, user("a"), undefined);
  const controller = new AbortController();
  const gone = assert.rejects(fairness.enter(info, user("b"), controller.signal) as Promise<Seat>, {
    code: "canceled",
  });
  controller.abort();
  await gone;
  const next = fairness.enter(info, user("c"), undefined) as Promise<Seat>;
  seat.leave();
  (await next).leave();
});
