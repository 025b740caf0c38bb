/** Progress as BuildKit's users know it: `#5 [build 2/4] WORKDIR /app`, `#5 CACHED`, `#5 DONE 0.1s`, output with its time. */
import type { BuildEvent, Vertex } from "../types.ts";

export class PlainProgress {
  readonly #write: (line: string) => void;
  readonly #monotonicMs: () => number;
  readonly #cached = new Set<number>();
  readonly #startedMs = new Map<number, number>();
  /** Text behind the last line break, by step. */
  readonly #partial = new Map<number, string>();
  #last = 0;

  constructor(write: (line: string) => void, monotonicMs: () => number) {
    this.#write = write;
    this.#monotonicMs = monotonicMs;
  }

  on(event: BuildEvent): void {
    switch (event.kind) {
      case "plan":
      case "image":
        return;
      case "warning":
        return this.#write(`WARNING: ${event.message}\n`);
      case "started":
        this.#startedMs.set(event.vertex.id, this.#monotonicMs());
        return this.#line(event.vertex, `${label(event.vertex)} ${event.vertex.name}`.trim());
      case "cached":
        this.#cached.add(event.vertex.id);
        return;
      case "output":
        return this.#output(event.vertex, event.text);
      case "pull":
        return this.#line(event.vertex, [event.line["id"], event.line["status"]].filter(Boolean).join(": "));
      case "done":
        this.#rest(event.vertex);
        return this.#line(
          event.vertex,
          this.#cached.has(event.vertex.id) ? "CACHED" : `DONE ${seconds(event.durationMs)}`,
        );
      case "failed":
        this.#rest(event.vertex);
        return this.#line(event.vertex, `ERROR: ${event.message.split("\n")[0]}`);
    }
  }

  #output(vertex: Vertex, text: string): void {
    if (/^ ---> Running in [0-9a-f]{12}\n$/.test(text)) return;
    const lines = ((this.#partial.get(vertex.id) ?? "") + text).split("\n");
    this.#partial.set(vertex.id, lines.pop()!);
    for (const line of lines) this.#timed(vertex, line);
  }

  #rest(vertex: Vertex): void {
    const rest = this.#partial.get(vertex.id);
    this.#partial.delete(vertex.id);
    if (rest) this.#timed(vertex, rest);
  }

  #timed(vertex: Vertex, line: string): void {
    const elapsedMs = this.#monotonicMs() - (this.#startedMs.get(vertex.id) ?? 0);
    this.#line(vertex, `${(elapsedMs / 1000).toFixed(3)} ${line}`);
  }

  /** A blank line tells steps apart when they take turns. */
  #line(vertex: Vertex, text: string): void {
    if (this.#last !== 0 && this.#last !== vertex.id) this.#write("\n");
    this.#last = vertex.id;
    this.#write(`#${vertex.id} ${text}\n`);
  }
}

function label({ stage }: Vertex): string {
  if (!stage) return "[internal]";
  return `[${stage.name ? `${stage.name} ` : stage.index > 0 ? `stage-${stage.index} ` : ""}${stage.step}/${stage.steps}]`;
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)}s`;
}
