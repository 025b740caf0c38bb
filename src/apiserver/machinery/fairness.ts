import { canceled, resourceExhausted, type Clock } from "../../base/index.ts";
import type { UserInfo } from "../../api/index.ts";
import type { Fairness, RequestInfo, Seat } from "./pipeline.ts";

/**
 * Priority and fairness, simplified: each priority level has seats of its own, and within a level the users who wait take turns, so that a
 * flood delays its sender and nobody else. https://kubernetes.io/docs/concepts/cluster-administration/flow-control/
 */
export interface FairnessOptions {
  readonly clock: Clock;
  /** Requests that run at once, by level. */
  readonly seats?: Partial<Record<Level, number>>;
  /** Requests of one user that may wait in one level. */
  readonly maxWaitingPerUser?: number;
  /** All that may wait in one level. */
  readonly maxWaiting?: number;
  readonly maxWaitMs?: number;
}

export type Level = "system" | "leader-election" | "workload-high" | "workload-low";

const SEATS: Record<Level, number> = { system: 150, "leader-election": 50, "workload-high": 200, "workload-low": 200 };
const RETRY_AFTER_SECONDS = 1;

export function createFairness(options: FairnessOptions): Fairness {
  const levels = new Map<Level, LevelQueue>();
  for (const [level, seats] of Object.entries({ ...SEATS, ...options.seats }) as Array<[Level, number]>)
    levels.set(level, new LevelQueue(level, seats, options));
  return {
    enter(info, user, signal) {
      if (user.groups.includes("system:masters") || isHealth(info)) return EXEMPT;
      return levels.get(levelOf(info, user))!.enter(user.name, signal);
    },
  };
}

const EXEMPT: Seat = { leave() {} };
const isHealth = ({ isResource, path }: RequestInfo) => !isResource && /^\/(healthz|livez|readyz)(\/|$)/.test(path);

/** Upstream's suggested flow schemas, as far as they tell users apart. */
export function levelOf({ resource, namespace }: RequestInfo, { name, groups }: UserInfo): Level {
  if (groups.includes("system:nodes")) return "system";
  const isSystem = name.startsWith("system:kube-") || groups.includes("system:serviceaccounts:kube-system");
  if (isSystem && resource === "leases" && namespace === "kube-system") return "leader-election";
  return isSystem ? "workload-high" : "workload-low";
}

interface Waiting {
  readonly start: (seat: Seat) => void;
}

class LevelQueue {
  readonly #level: Level;
  readonly #seats: number;
  readonly #options: FairnessOptions;
  /** Who waits, in order of their next turn. */
  readonly #users = new Map<string, Waiting[]>();
  #running = 0;
  #waiting = 0;

  constructor(level: Level, seats: number, options: FairnessOptions) {
    this.#level = level;
    this.#seats = seats;
    this.#options = options;
  }

  enter(user: string, signal: AbortSignal | undefined): Seat | Promise<Seat> {
    if (this.#running < this.#seats && this.#waiting === 0) return this.#sit();
    const { maxWaitingPerUser = 200, maxWaiting = 2000, maxWaitMs = 15_000, clock } = this.#options;
    const mine = this.#users.get(user) ?? [];
    if (mine.length >= maxWaitingPerUser || this.#waiting >= maxWaiting) throw this.#tooMany();
    return new Promise((resolve, reject) => {
      const settle = (act: () => void) => {
        timer.cancel();
        signal?.removeEventListener("abort", gone);
        act();
      };
      const waiting: Waiting = { start: (seat) => settle(() => resolve(seat)) };
      const leave = (error: Error) => {
        this.#remove(user, waiting);
        settle(() => reject(error));
      };
      const gone = () => leave(canceled("the caller went away while waiting for a seat"));
      const timer = clock.after(maxWaitMs, () => leave(this.#tooMany()));
      signal?.addEventListener("abort", gone, { once: true });
      mine.push(waiting);
      this.#users.set(user, mine);
      this.#waiting++;
    });
  }

  #sit(): Seat {
    this.#running++;
    let left = false;
    return {
      leave: () => {
        if (left) return;
        left = true;
        this.#running--;
        this.#next();
      },
    };
  }

  /** The first user's oldest request starts, and the user goes to the end of the line. */
  #next(): void {
    const first = this.#users.entries().next();
    if (first.done) return;
    const [user, line] = first.value;
    const waiting = line.shift()!;
    this.#waiting--;
    this.#users.delete(user);
    if (line.length > 0) this.#users.set(user, line);
    waiting.start(this.#sit());
  }

  #remove(user: string, waiting: Waiting): void {
    const line = this.#users.get(user);
    const at = line?.indexOf(waiting) ?? -1;
    if (at < 0) return;
    line!.splice(at, 1);
    this.#waiting--;
    if (line!.length === 0) this.#users.delete(user);
  }

  #tooMany() {
    return resourceExhausted("the server has received too many requests and has asked us to try again later", {
      details: { retryAfterSeconds: RETRY_AFTER_SECONDS, level: this.#level },
    });
  }
}
