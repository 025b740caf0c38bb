import { systemClock } from "../../base/index.ts";
import { bold, dim, print } from "../output/terminal.ts";

/** Tells what happens: a sentence, the command that anybody could type, its answer and how long it took. */
export class Story {
  readonly #beganMs = systemClock.monotonicMs();

  say(sentence: string): void {
    print();
    print(bold(sentence));
  }

  /** Shows `command`, does `task`, shows what it returns, indented. */
  async act(command: string, task: () => Promise<string>): Promise<void> {
    print(`$ ${command}`);
    const beganMs = systemClock.monotonicMs();
    const answer = (await task()).trimEnd();
    if (answer !== "") print(answer.replace(/^/gm, "  "));
    print(dim(`  (${seconds(systemClock.monotonicMs() - beganMs)})`));
  }

  end(): void {
    print();
    print(`Done in ${seconds(systemClock.monotonicMs() - this.#beganMs)}.`);
  }
}

function seconds(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}
