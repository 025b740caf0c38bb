/**
 * Progress as the classic builder writes it, which tools read: `Step 1/5 : FROM …`, ` ---> id`, ` ---> Using cache`, `Successfully built …`.
 *
 * Stages run side by side, but this stream tells one step after the other in the order of the Dockerfile: the earliest step that isn't finished
 * writes at once, what later ones write waits its turn.
 */
import { shortId } from "../../image/index.ts";
import { MAX_BUFFERED_OUTPUT_CHARS } from "../limits.ts";
import type { BuildEvent, Vertex } from "../types.ts";

/** Docker's JSON progress message. */
export type StreamMessage = Readonly<Record<string, unknown>>;

interface StepLog {
  messages: StreamMessage[];
  buffered: number;
  truncated: boolean;
  cached: boolean;
  ranAs: string | undefined;
  finished: boolean;
}

export class ClassicProgress {
  readonly #write: (message: StreamMessage) => void;
  readonly #steps = new Map<number, StepLog>();
  #total = 0;
  /** The step whose turn it is. */
  #current = 1;

  constructor(write: (message: StreamMessage) => void) {
    this.#write = write;
  }

  on(event: BuildEvent): void {
    switch (event.kind) {
      case "plan":
        this.#total = event.steps;
        return;
      case "warning":
        return this.#write({ stream: `[Warning] ${event.message}\n` });
      case "started":
        return this.#text(event.vertex, `Step ${event.vertex.id}/${this.#total} : ${event.vertex.name}\n`);
      case "cached":
        this.#step(event.vertex).cached = true;
        return;
      case "output":
        this.#noteContainer(event.vertex, event.text);
        return this.#text(event.vertex, event.text);
      case "pull":
        return this.#message(event.vertex, event.line);
      case "done":
        return this.#done(event.vertex, event.result);
      case "image":
        return this.#write({ stream: ` ---> ${shortId(event.id)}\n` });
      case "failed":
        return this.#finish(event.vertex);
    }
  }

  #noteContainer(vertex: Vertex, text: string): void {
    const id = /^ ---> Running in ([0-9a-f]{12})\n$/.exec(text)?.[1];
    if (id) this.#step(vertex).ranAs = id;
  }

  #done(vertex: Vertex, result: string | undefined): void {
    const step = this.#step(vertex);
    if (step.cached) this.#text(vertex, " ---> Using cache\n");
    if (step.ranAs) this.#text(vertex, ` ---> Removed intermediate container ${step.ranAs}\n`);
    if (result !== undefined) this.#text(vertex, ` ---> ${result}\n`);
    this.#finish(vertex);
  }

  #finish(vertex: Vertex): void {
    this.#step(vertex).finished = true;
    while (this.#steps.get(this.#current)?.finished) {
      this.#current++;
      for (const message of this.#steps.get(this.#current)?.messages.splice(0) ?? []) this.#write(message);
    }
  }

  /** Writes what waits: after a failure nobody's turn comes any more. */
  flush(): void {
    for (const [, step] of [...this.#steps].sort(([a], [b]) => a - b))
      for (const message of step.messages.splice(0)) this.#write(message);
  }

  #text(vertex: Vertex, text: string): void {
    this.#message(vertex, { stream: text });
  }

  #message(vertex: Vertex, message: StreamMessage): void {
    if (vertex.id === this.#current) return this.#write(message);
    const step = this.#step(vertex);
    const size = JSON.stringify(message).length;
    if (step.buffered + size > MAX_BUFFERED_OUTPUT_CHARS) {
      if (!step.truncated)
        step.messages.push({ stream: "[output clipped: this step wrote more while an earlier one ran]\n" });
      step.truncated = true;
      return;
    }
    step.buffered += size;
    step.messages.push(message);
  }

  #step(vertex: Vertex): StepLog {
    let step = this.#steps.get(vertex.id);
    if (!step) {
      step = { messages: [], buffered: 0, truncated: false, cached: false, ranAs: undefined, finished: false };
      this.#steps.set(vertex.id, step);
    }
    return step;
  }
}
