import type { Metrics } from "../../../base/index.ts";
import type { Fallback } from "../pipeline.ts";
import { textResponse } from "../respond.ts";
import type { FlowControl } from "./fairness.ts";
import type { Level } from "./level.ts";

/** https://kubernetes.io/docs/reference/debug-cluster/flow-control/#metrics, by priority level. */
export function measureFlowControl(metrics: Metrics, control: FlowControl): void {
  const perLevel = (name: string, help: string, read: (level: Level) => number, type?: "counter") =>
    metrics.gauge(
      `apiserver_flowcontrol_${name}`,
      help,
      ["priority_level"],
      () => [...control.levels()].map((level) => [[level.name], read(level)] as const),
      type,
    );
  perLevel("nominal_limit_seats", "Requests that may run at once without borrowing.", ({ seats }) => seats);
  perLevel("current_executing_requests", "Requests that have a seat now.", ({ running }) => running);
  perLevel("current_inqueue_requests", "Requests that wait for a seat now.", ({ waiting }) => waiting);
  perLevel("dispatched_requests_total", "Requests that got a seat.", ({ dispatched }) => dispatched, "counter");
  perLevel("rejected_requests_total", "Requests that got none.", ({ rejected }) => rejected, "counter");
}

const FOLDER = "/debug/api_priority_and_fairness/";

/** Upstream's dumps, as far as its figures exist here: https://kubernetes.io/docs/reference/debug-cluster/flow-control/ */
export function flowControlDumps(control: FlowControl): Fallback {
  const dumps: Readonly<Record<string, () => unknown[][]>> = {
    dump_priority_levels: () => [
      [
        "PriorityLevelName",
        "ActiveQueues",
        "IsIdle",
        "WaitingRequests",
        "ExecutingRequests",
        "DispatchedRequests",
        "RejectedRequests",
      ],
      ...[...control.levels()].map((level) => {
        const { name, running, waiting, dispatched, rejected } = level;
        return [name, level.queues().length, running + waiting === 0, waiting, running, dispatched, rejected];
      }),
    ],
    dump_queues: () => [
      ["PriorityLevelName", "Index", "PendingRequests"],
      ...[...control.levels()].flatMap((level) => level.queues().map((queue) => [level.name, ...queue])),
    ],
  };
  return ({ request: { method, path } }) => {
    const dump = path.startsWith(FOLDER) && method === "GET" ? dumps[path.slice(FOLDER.length)] : undefined;
    return (
      dump &&
      textResponse(
        dump()
          .map((row) => `${row.join(", ")}\n`)
          .join(""),
      )
    );
  };
}
