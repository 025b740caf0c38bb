import assert from "node:assert/strict";
import { test } from "node:test";
import type { k8s } from "../../../api/index.ts";
import { FakeClock, settle } from "../../../base/index.ts";
import { flowSchemas } from "../../bootstrap/flow-control.ts";
import type { RequestInfo, Seat } from "../pipeline.ts";
import { dealHand } from "./dealer.ts";
import { FlowControl } from "./fairness.ts";
import { byPrecedence, matchFlow } from "./match.ts";

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
const user = (name: string, ...groups: string[]) => ({ name, groups: ["system:authenticated", ...groups] });
const account = (namespace: string, name: string) =>
  user(`system:serviceaccount:${namespace}:${name}`, "system:serviceaccounts", `system:serviceaccounts:${namespace}`);
const lease = { ...info, verb: "update", group: "coordination.k8s.io", resource: "leases", namespace: "kube-system" };
const path = (at: string) => ({ ...info, isResource: false, verb: "get", path: at });

test("requests find upstream's flow schemas", () => {
  const schemas = byPrecedence(flowSchemas());
  const rows: [RequestInfo, ReturnType<typeof user>, string][] = [
    [info, user("admin", "system:masters"), "exempt"],
    [path("/livez"), user("jane"), "probes"],
    [path("/version"), user("jane"), "global-default"],
    [lease, user("system:kube-scheduler"), "system-leader-election"],
    [lease, account("kube-system", "x"), "system-leader-election"],
    [lease, account("default", "x"), "workload-leader-election"],
    [
      { ...info, verb: "patch", resource: "nodes", subresource: "status" },
      user("n", "system:nodes"),
      "system-node-high",
    ],
    [info, user("n", "system:nodes"), "system-nodes"],
    [info, user("system:kube-controller-manager"), "kube-controller-manager"],
    [info, account("kube-system", "x"), "kube-system-service-accounts"],
    [info, account("default", "x"), "service-accounts"],
    [info, user("jane"), "global-default"],
  ];
  for (const [request, who, expected] of rows)
    assert.equal(matchFlow(schemas, request, who)?.metadata?.name, expected, `${request.path} by ${who.name}`);
});

test("a hand has different queues, is the same every time, and two hands are seldom one", () => {
  const hands = Array.from({ length: 50 }, (_, at) => dealHand(`flow-${at}`, 64, 6));
  for (const hand of hands) {
    assert.equal(new Set(hand).size, 6);
    assert.ok(hand.every((queue) => queue >= 0 && queue < 64));
  }
  assert.equal(new Set(hands.map((hand) => hand.toSorted((a, b) => a - b).join())).size, 50);
  assert.deepEqual(dealHand("flow-1", 64, 6), hands[1]);
  assert.deepEqual(new Set(dealHand("x", 3, 8)), new Set([0, 1, 2]));
});

/** One level for all, with one seat by default. */
function single(limited: Partial<k8s.LimitedPriorityLevelConfiguration> = {}, seats = 1) {
  const clock = new FakeClock();
  const queuing = { queues: 16, handSize: 2, queueLengthLimit: 4 };
  const level: k8s.PriorityLevelConfiguration = {
    metadata: { name: "all", uid: "level-uid" },
    spec: {
      type: "Limited",
      limited: { nominalConcurrencyShares: 10, limitResponse: { type: "Queue", queuing }, ...limited },
    },
  };
  const schema: k8s.FlowSchema = {
    metadata: { name: "all", uid: "schema-uid" },
    spec: {
      priorityLevelConfiguration: { name: "all" },
      distinguisherMethod: { type: "ByUser" },
      rules: flowSchemas().at(-1)!.spec!.rules,
    },
  };
  const control = new FlowControl({ clock, seats, maxWaitMs: 1000, flowSchemas: [schema], priorityLevels: [level] });
  return { clock, control, schema, level };
}

test("a flood waits behind itself: another user is served next", async () => {
  const { control } = single();
  const headers: Record<string, string> = {};
  const first = (await control.enter(info, user("flood"), undefined, headers)) as Seat;
  assert.deepEqual(headers, {
    "x-kubernetes-pf-flowschema-uid": "schema-uid",
    "x-kubernetes-pf-prioritylevel-uid": "level-uid",
  });
  const order: string[] = [];
  const enter = async (name: string) => {
    const seat = await control.enter(info, user(name), undefined);
    order.push(name);
    await settle();
    seat.leave();
  };
  const all = [...Array.from({ length: 8 }, () => enter("flood")), enter("quiet")];
  // The flood's hand is two queues of four: it is full, and refused before the quiet one is.
  assert.throws(() => control.enter(info, user("flood"), undefined), { code: "resourceExhausted" });
  first.leave();
  await Promise.all(all);
  assert.ok(order.indexOf("quiet") <= 2, order.join());
});

test("too long a wait is refused with a time to come back, and so is whoever may not wait", async () => {
  const { clock, control } = single();
  await control.enter(info, user("a"), undefined);
  const waiting = control.enter(info, user("a"), undefined) as Promise<Seat>;
  const refused = assert.rejects(waiting, {
    code: "resourceExhausted",
    details: { retryAfterSeconds: 1, level: "all" },
  });
  await clock.advance(1001);
  await refused;
  const rejecting = single({ limitResponse: { type: "Reject" } }).control;
  await rejecting.enter(info, user("a"), undefined);
  assert.throws(() => rejecting.enter(info, user("b"), undefined), { code: "resourceExhausted" });
});

test("who goes away while waiting leaves the line", async () => {
  const { control } = single();
  const seat = await control.enter(info, user("a"), undefined);
  const controller = new AbortController();
  const gone = assert.rejects(control.enter(info, user("b"), controller.signal) as Promise<Seat>, { code: "canceled" });
  controller.abort();
  await gone;
  const next = control.enter(info, user("c"), undefined) as Promise<Seat>;
  seat.leave();
  (await next).leave();
});

test("objects that change are obeyed: more seats at once, an exempt level, a level that is gone", async () => {
  const { control, schema, level } = single();
  await control.enter(info, user("a"), undefined);
  const waiting = control.enter(info, user("b"), undefined) as Promise<Seat>;
  const other: k8s.PriorityLevelConfiguration = {
    metadata: { name: "other" },
    spec: { type: "Limited", limited: { nominalConcurrencyShares: 10, lendablePercent: 100 } },
  };
  // The other level's seat is lent.
  control.configure([schema], [level, other]);
  await waiting;
  control.configure([schema], [{ ...level, spec: { type: "Exempt" } }]);
  for (let at = 0; at < 5; at++) await control.enter(info, user("c"), undefined);
  control.configure([schema], [other]);
  assert.ok(await control.enter(info, user("d"), undefined), "a schema without its level is passed over");
});
