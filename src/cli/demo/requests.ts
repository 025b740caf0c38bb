import { messageOf, systemClock, unavailable } from "../../base/index.ts";
import { wait } from "../daemon-process.ts";

const http = process.getBuiltinModule("node:http");

const TIMEOUT_MS = 5_000;
const MAX_FAILURES_TOLD = 3;

/** One request over a connection of its own. Throws for anything but an answer of 200. */
export function get(url: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = http.get(url, { agent: false, timeout: TIMEOUT_MS }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
      response.on("error", reject).on("end", () => {
        if (response.statusCode === 200) resolve(text);
        else reject(unavailable(`status ${response.statusCode}`));
      });
    });
    request.on("timeout", () => request.destroy(unavailable(`no answer within ${TIMEOUT_MS / 1000} s`)));
    request.on("error", reject);
  });
}

export interface LoadReport {
  readonly requests: number;
  readonly failed: number;
  /** What the first failures said. */
  readonly failures: readonly string[];
}

/** Several clients asking again and again, none of them ever asking twice for one answer: a failure is counted. */
export class Load {
  readonly #url: string;
  readonly #pauseMs: number;
  readonly #clients: Promise<void>[];
  readonly #failures: string[] = [];
  readonly #beganMs = systemClock.monotonicMs();
  #requests = 0;
  #failed = 0;
  #stopped = false;

  constructor(url: string, options: { clients: number; pauseMs: number }) {
    this.#url = url;
    this.#pauseMs = options.pauseMs;
    this.#clients = Array.from({ length: options.clients }, () => this.#client());
  }

  async stop(): Promise<LoadReport> {
    this.#stopped = true;
    await Promise.all(this.#clients);
    return { requests: this.#requests, failed: this.#failed, failures: this.#failures };
  }

  async #client(): Promise<void> {
    while (!this.#stopped) {
      this.#requests++;
      try {
        await get(this.#url);
      } catch (error) {
        this.#failed++;
        if (this.#failures.length < MAX_FAILURES_TOLD)
          this.#failures.push(`${messageOf(error)} after ${Math.round(systemClock.monotonicMs() - this.#beganMs)} ms`);
      }
      if (this.#pauseMs > 0) await wait(this.#pauseMs);
    }
  }
}
