import { internal, unavailable } from "../../base/index.ts";
import { run } from "../../host/index.ts";

/** The control link: the host's end and the guest's, the same in every machine, since each has a network namespace of its own. */
export const HOST_ADDRESS = "169.254.77.1";
const GUEST_ADDRESS = "169.254.77.2";
const AGENT_PORT = 1;

const TIMEOUT_MS = 60_000;
/** How long a guest may say nothing, be it that it cannot be reached or that a script takes its time. */
const SILENCE_SECONDS = 60;

export interface ScriptResult {
  readonly code: number;
  readonly output: string;
}

/** Asks the agent of the machine in a network namespace. Scripts run as root under busybox, in the guest's own namespaces. */
export class GuestAgent {
  readonly #netnsPath: string;
  readonly #gone = new AbortController();

  constructor(netnsPath: string) {
    this.#netnsPath = netnsPath;
  }

  /** The machine has ended: who still waits for an answer learns it at once. */
  end(): void {
    this.#gone.abort();
  }

  /** Output and exit code of a script. Throws unavailable when the agent does not answer. */
  try(script: string, signal?: AbortSignal, timeoutMs = TIMEOUT_MS): Promise<ScriptResult> {
    return this.#ask(`sh\n${script}\n`, signal, timeoutMs);
  }

  /** Tells a machine that was saved what it must not share with others, the time and where its random numbers come from, and runs a script. */
  async wake(nowMs: number, seed: Uint8Array, script: string, signal?: AbortSignal): Promise<void> {
    const nanos = Math.floor((nowMs % 1000) * 1e6);
    const words = ["wake", Math.floor(nowMs / 1000), nanos, Buffer.from(seed).toString("hex")];
    const { code, output } = await this.#ask(`${words.join(" ")}\n${script}\n`, signal, TIMEOUT_MS);
    if (code !== 0) throw internal(`the restored microVM did not take its identity: ${output.trim()}`);
  }

  async #ask(input: string, signal: AbortSignal | undefined, timeoutMs: number): Promise<ScriptResult> {
    const argv = [
      "/usr/bin/nsenter",
      `--net=${this.#netnsPath}`,
      "--",
      "/usr/bin/busybox",
      "nc",
      "-w",
      String(SILENCE_SECONDS),
    ];
    const { stdout } = await run([...argv, GUEST_ADDRESS, String(AGENT_PORT)], {
      input,
      timeoutMs,
      signal: signal ? AbortSignal.any([signal, this.#gone.signal]) : this.#gone.signal,
    }).catch((error: unknown) => {
      if (this.#gone.signal.aborted) throw unavailable("the microVM has ended");
      throw error;
    });
    return parseAnswer(stdout);
  }

  /** The output of a script that must succeed. */
  async run(script: string, signal?: AbortSignal): Promise<string> {
    const { code, output } = await this.try(script, signal);
    if (code !== 0) throw internal(`the guest refused: ${output.trim()}`);
    return output;
  }
}

/** Splits what the agent answers into output and exit code. */
export function parseAnswer(text: string): ScriptResult {
  const match = /\nexit (\d+)\n$/.exec(text);
  if (!match) throw unavailable("the microVM's agent does not answer");
  return { code: Number(match[1]), output: text.slice(0, match.index) };
}

/** A word for the shell, whatever is in it. */
export function quote(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}
