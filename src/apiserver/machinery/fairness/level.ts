import { canceled, resourceExhausted, type Clock } from "../../../base/index.ts";
import { dealHand } from "./dealer.ts";

/** A priority level's share of the server, in seats and queues. */
export interface LevelLimits {
  /** Requests that run at once. */
  readonly seats: number;
  /** How many of them others may have while they aren't wanted. */
  readonly lendableSeats: number;
  /** How many it may borrow; unlimited by default. */
  readonly borrowableSeats?: number;
  /** Undefined: what finds no seat is refused. */
  readonly queuing?: { readonly queues: number; readonly handSize: number; readonly queueLengthLimit: number };
}

const RETRY_AFTER_SECONDS = 1;

interface Waiting {
  start(): void;
}

/** Seats of one priority level, and the queues of those that wait for one. Queues take turns, so that a flow waits behind itself. */
export class Level {
  readonly name: string;
  readonly #clock: Clock;
  readonly #maxWaitMs: number;
  /** How many seats the other levels can spare now. */
  readonly #spare: (borrower: Level) => number;
  #limits: LevelLimits;
  /** Queues that aren't empty, in order of their next turn. */
  readonly #queues = new Map<number, Waiting[]>();
  #running = 0;
  /** Since the level is there. */
  dispatched = 0;
  rejected = 0;

  constructor(
    name: string,
    limits: LevelLimits,
    options: { clock: Clock; maxWaitMs: number; spare: (borrower: Level) => number },
  ) {
    this.name = name;
    this.#limits = limits;
    this.#clock = options.clock;
    this.#maxWaitMs = options.maxWaitMs;
    this.#spare = options.spare;
  }

  /** Whoever waits goes on waiting, until `dispatch`. */
  configure(limits: LevelLimits): void {
    this.#limits = limits;
  }

  /** Seats that others have or may have now. */
  get lendable(): number {
    return Math.max(0, Math.min(this.#limits.lendableSeats, this.#limits.seats - this.#running));
  }
  get borrowed(): number {
    return Math.max(0, this.#running - this.#limits.seats);
  }

  get seats(): number {
    return this.#limits.seats;
  }
  get running(): number {
    return this.#running;
  }
  get waiting(): number {
    let waiting = 0;
    for (const line of this.#queues.values()) waiting += line.length;
    return waiting;
  }
  /** Queues that aren't empty, and how many wait in each. */
  queues(): Array<[queue: number, waiting: number]> {
    return [...this.#queues].map(([queue, line]) => [queue, line.length]);
  }

  /** A seat, of which the result gives back. Throws `resourceExhausted` when the flow's queues are full or the wait is too long. */
  enter(flow: string, signal: AbortSignal | undefined): (() => void) | Promise<() => void> {
    if (this.#queues.size === 0 && this.#hasSeat()) return this.#sit();
    const { queuing } = this.#limits;
    if (!queuing) throw this.#tooMany();
    const queue = this.#shortest(dealHand(flow, queuing.queues, queuing.handSize));
    if ((this.#queues.get(queue)?.length ?? 0) >= queuing.queueLengthLimit) throw this.#tooMany();
    return this.#wait(queue, signal);
  }

  /** Gives free seats to those whose turn it is. */
  dispatch(): void {
    while (this.#queues.size > 0 && this.#hasSeat()) {
      const [queue, line] = this.#queues.entries().next().value!;
      const first = line.shift()!;
      // The queue goes to the end of the round.
      this.#queues.delete(queue);
      if (line.length > 0) this.#queues.set(queue, line);
      first.start();
    }
  }

  #hasSeat(): boolean {
    const { seats, borrowableSeats = Infinity } = this.#limits;
    return this.#running < seats || (this.#running < seats + borrowableSeats && this.#spare(this) > 0);
  }

  #shortest(hand: readonly number[]): number {
    const length = (queue: number) => this.#queues.get(queue)?.length ?? 0;
    return hand.reduce((best, queue) => (length(queue) < length(best) ? queue : best));
  }

  #wait(queue: number, signal: AbortSignal | undefined): Promise<() => void> {
    return new Promise((resolve, reject) => {
      const settle = () => {
        timer.cancel();
        signal?.removeEventListener("abort", gone);
      };
      const waiting: Waiting = {
        start: () => {
          settle();
          resolve(this.#sit());
        },
      };
      const leave = (error: Error) => {
        this.#remove(queue, waiting);
        settle();
        reject(error);
      };
      const gone = () => leave(canceled("the caller went away while waiting for a seat"));
      const timer = this.#clock.after(this.#maxWaitMs, () => leave(this.#tooMany()));
      signal?.addEventListener("abort", gone, { once: true });
      const line = this.#queues.get(queue);
      if (line) line.push(waiting);
      else this.#queues.set(queue, [waiting]);
    });
  }

  #remove(queue: number, waiting: Waiting): void {
    const line = this.#queues.get(queue);
    const at = line?.indexOf(waiting) ?? -1;
    if (at < 0) return;
    line!.splice(at, 1);
    if (line!.length === 0) this.#queues.delete(queue);
  }

  #sit(): () => void {
    this.#running++;
    this.dispatched++;
    let left = false;
    return () => {
      if (left) return;
      left = true;
      this.#running--;
      this.dispatch();
    };
  }

  #tooMany() {
    this.rejected++;
    return resourceExhausted("too many requests, please try again later", {
      details: { retryAfterSeconds: RETRY_AFTER_SECONDS, level: this.name },
    });
  }
}
