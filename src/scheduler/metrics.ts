import {
  exponentialBounds,
  type Count,
  type Counter,
  type Distribution,
  type Histogram,
  type Metrics,
} from "../base/index.ts";
import type { SchedulingQueue } from "./queue.ts";

export type AttemptResult = "scheduled" | "unschedulable" | "error";

/** The scheduler's figures under upstream's names. */
export class SchedulerMetrics {
  readonly #attempts: Counter;
  readonly #seconds: Histogram;
  readonly #preemptions: Count;
  readonly #victims: Distribution;

  constructor(metrics: Metrics, queue: Pick<SchedulingQueue, "counts">) {
    const labels = ["profile", "result"];
    this.#attempts = metrics.counter("scheduler_schedule_attempts_total", "Attempts to place a pod.", labels);
    this.#seconds = metrics.histogram(
      "scheduler_scheduling_attempt_duration_seconds",
      "How long an attempt took, binding included.",
      labels,
      exponentialBounds(0.001, 2, 15),
    );
    this.#preemptions = metrics.counter("scheduler_preemption_attempts_total", "Pods for which others had to go.").of();
    this.#victims = metrics
      .histogram("scheduler_preemption_victims", "How many had to go.", [], exponentialBounds(1, 2, 7))
      .of();
    metrics.gauge("scheduler_pending_pods", "Pods waiting, by queue.", ["queue"], () =>
      Object.entries(queue.counts()).map(([name, count]) => [[name], count]),
    );
  }

  attempted(profile: string, result: AttemptResult, ms: number): void {
    this.#attempts.of(profile, result).value++;
    this.#seconds.of(profile, result).observe(ms / 1000);
  }

  preempted(victims: number): void {
    this.#preemptions.value++;
    this.#victims.observe(victims);
  }
}
