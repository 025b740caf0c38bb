import { exponentialBounds, type Count, type Distribution, type Metrics } from "../base/index.ts";

/** Upstream's buckets of work queues, in seconds. */
const BOUNDS = exponentialBounds(1e-8, 10, 10);

interface Queue {
  readonly size: number;
  handlingMs(): readonly number[];
}

/** One queue's figures under upstream's names. */
export class QueueMetrics {
  readonly #adds: Count;
  readonly #retries: Count;
  readonly #queueSeconds: Distribution;
  readonly #workSeconds: Distribution;

  constructor(metrics: Metrics, name: string, queue: Queue) {
    const labels = ["name"];
    this.#adds = metrics.counter("workqueue_adds_total", "Keys added.", labels).of(name);
    this.#retries = metrics.counter("workqueue_retries_total", "Keys tried again after a failure.", labels).of(name);
    this.#queueSeconds = metrics
      .histogram("workqueue_queue_duration_seconds", "How long keys waited for a worker.", labels, BOUNDS)
      .of(name);
    this.#workSeconds = metrics
      .histogram("workqueue_work_duration_seconds", "How long workers took for a key.", labels, BOUNDS)
      .of(name);
    const gauge = (metric: string, help: string, read: () => number) =>
      metrics.gauge(metric, help, labels, () => [[[name], read()]]);
    gauge("workqueue_depth", "Keys waiting for a worker.", () => queue.size);
    gauge(
      "workqueue_unfinished_work_seconds",
      "What workers have spent on keys that they still have.",
      () => queue.handlingMs().reduce((sum, each) => sum + each, 0) / 1000,
    );
    gauge(
      "workqueue_longest_running_processor_seconds",
      "What the slowest of them has spent.",
      () => Math.max(0, ...queue.handlingMs()) / 1000,
    );
  }

  added(): void {
    this.#adds.value++;
  }
  retried(): void {
    this.#retries.value++;
  }
  waited(ms: number): void {
    this.#queueSeconds.observe(ms / 1000);
  }
  worked(ms: number): void {
    this.#workSeconds.observe(ms / 1000);
  }
}
