import type { ApiHandler, ApiResponse, ApiWatchEvent } from "../../src/api/index.ts";
import { randomInt, type Clock, type Random } from "../../src/base/index.ts";

export interface FaultOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** Chances from 0 to 1, read at each request, so that a run can calm down. */
  readonly chances: {
    refuse: number;
    loseAnswer: number;
    delay: number;
    dropWatch: number;
    /** Of each event: to come late, and everything after it. */
    slowWatch: number;
    /** Of each event: to come twice. */
    repeatEvent: number;
  };
}

const MAX_DELAY_MS = 800;
const MAX_WATCH_MS = 20_000;

/** The network between a client and the API server on a bad day: requests refused, answers lost after the work was done, delays, watches cut. */
export function faulty(handler: ApiHandler, options: FaultOptions): ApiHandler {
  const { clock, random, chances } = options;
  return async (request) => {
    if (random.float() < chances.delay) await clock.sleep(randomInt(random, MAX_DELAY_MS), request.signal);
    if (random.float() < chances.refuse) return unavailable("the request did not arrive");
    const response = await handler(request);
    if (response.events) {
      const events = disturbed(response.events, options);
      const watch = { ...response, events };
      return random.float() < chances.dropWatch ? cut(watch, randomInt(random, MAX_WATCH_MS), clock) : watch;
    }
    if (random.float() < chances.loseAnswer) return unavailable("the answer was lost");
    if (random.float() < chances.delay) await clock.sleep(randomInt(random, MAX_DELAY_MS), request.signal);
    return response;
  };
}

function unavailable(message: string): ApiResponse {
  const object = {
    kind: "Status",
    apiVersion: "v1",
    status: "Failure",
    code: 503,
    reason: "ServiceUnavailable",
    message,
  };
  return { status: 503, headers: {}, object };
}

async function* disturbed(
  events: AsyncIterable<ApiWatchEvent>,
  { clock, random, chances }: FaultOptions,
): AsyncGenerator<ApiWatchEvent> {
  for await (const event of events) {
    if (random.float() < chances.slowWatch) await clock.sleep(randomInt(random, MAX_DELAY_MS));
    yield event;
    if (random.float() < chances.repeatEvent) yield event;
  }
}

/** A server that dies with the signal: requests under way are answered as a broken connection is. */
export function mortal(handler: ApiHandler, signal: AbortSignal): ApiHandler {
  const broken = unavailable("the connection broke");
  return async (request) => {
    if (signal.aborted) return broken;
    const died = Promise.withResolvers<ApiResponse>();
    const die = () => died.resolve(broken);
    signal.addEventListener("abort", die, { once: true });
    const answer = handler(request).finally(() => signal.removeEventListener("abort", die));
    answer.catch(() => {});
    return Promise.race([answer, died.promise]);
  };
}

/** The same watch, ending after a while as a lost connection does. */
function cut(response: ApiResponse, afterMs: number, clock: Clock): ApiResponse {
  async function* events(): AsyncGenerator<ApiWatchEvent> {
    const source = response.events![Symbol.asyncIterator]();
    const over = Promise.withResolvers<"over">();
    const timer = clock.after(afterMs, () => over.resolve("over"));
    try {
      for (;;) {
        const next = await Promise.race([source.next(), over.promise]);
        if (next === "over" || next.done) return;
        yield next.value;
      }
    } finally {
      timer.cancel();
      void source.return?.();
    }
  }
  return { ...response, events: events() };
}
