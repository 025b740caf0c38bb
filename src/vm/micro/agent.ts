import type { Socket } from "node:net";
import { internal, MiB, unavailable } from "../../base/index.ts";
import { dialTcp, LinuxNetns } from "../../host/index.ts";

/** The control link: the host's end and the guest's, the same in every machine, since each has a network namespace of its own. */
export const HOST_ADDRESS = "169.254.77.1";
export const GUEST_ADDRESS = "169.254.77.2";
const AGENT_PORT = 1;

/** How long a guest may take, be it that it cannot be reached or that a script takes its time; and how much it may say. Who is root in it chooses both. */
const ANSWER_MS = 60_000;
const MAX_ANSWER_BYTES = MiB;

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
  try(script: string, signal?: AbortSignal): Promise<ScriptResult> {
    return this.#ask(`sh\n${script}\n`, signal);
  }

  /**
   * Makes a machine somebody's own: tells it what it must not share with others (the time, and where its random numbers come from), and what it has to do
   * (see identity.pl).
   */
  async identify(nowMs: number, seed: Uint8Array, tasks: readonly string[], signal?: AbortSignal): Promise<void> {
    const nanos = Math.floor((nowMs % 1000) * 1e6);
    const header = ["identity", Math.floor(nowMs / 1000), nanos, Buffer.from(seed).toString("hex")].join(" ");
    const { code, output } = await this.#ask(`${[header, ...tasks].join("\n")}\n`, signal);
    if (code !== 0) throw internal(`the microVM did not take its identity: ${output.trim()}`);
  }

  async #ask(input: string, signal?: AbortSignal): Promise<ScriptResult> {
    const late = AbortSignal.timeout(ANSWER_MS);
    const limit = AbortSignal.any([late, this.#gone.signal, ...(signal ? [signal] : [])]);
    const socket = new LinuxNetns().enter(this.#netnsPath, () => dialTcp(GUEST_ADDRESS, AGENT_PORT));
    // A connection that fails has no answer.
    socket.on("error", () => {});
    const stop = () => socket.destroy();
    limit.addEventListener("abort", stop, { once: true });
    if (limit.aborted) stop();
    try {
      socket.end(input);
      const text = await readAll(socket);
      signal?.throwIfAborted();
      if (this.#gone.signal.aborted) throw unavailable("the microVM has ended");
      return parseAnswer(text);
    } finally {
      limit.removeEventListener("abort", stop);
      socket.destroy();
    }
  }

  /** The output of a script that must succeed. */
  async run(script: string, signal?: AbortSignal): Promise<string> {
    const { code, output } = await this.try(script, signal);
    if (code !== 0) throw internal(`the guest refused: ${output.trim()}`);
    return output;
  }
}

/** All that comes until its end; what is longer than an answer may be is cut off. */
function readAll(socket: Socket): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  const { promise, resolve } = Promise.withResolvers<string>();
  socket.on("data", (chunk: Buffer) => {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes > MAX_ANSWER_BYTES) socket.destroy();
  });
  for (const end of ["end", "close"]) socket.on(end, () => resolve(Buffer.concat(chunks).toString()));
  return promise;
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
