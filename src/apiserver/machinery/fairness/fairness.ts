import type { k8s, UserInfo } from "../../../api/index.ts";
import type { Clock } from "../../../base/index.ts";
import type { Fairness, RequestInfo, Seat } from "../pipeline.ts";
import { Level, type LevelLimits } from "./level.ts";
import { byPrecedence, distinguisher, matchFlow } from "./match.ts";

/** Upstream's `--max-requests-inflight` and `--max-mutating-requests-inflight` together. */
const SERVER_SEATS = 600;
const MAX_WAIT_MS = 15_000;

export interface FairnessOptions {
  readonly clock: Clock;
  /** All requests that run at once, but for those of exempt levels. */
  readonly seats?: number;
  readonly maxWaitMs?: number;
  readonly flowSchemas: readonly k8s.FlowSchema[];
  readonly priorityLevels: readonly k8s.PriorityLevelConfiguration[];
}

/**
 * Priority and fairness by FlowSchema and PriorityLevelConfiguration objects: a schema tells which level a request belongs to and which flow
 * within it; a level has its share of the seats, and its flows wait in queues that take turns. So a flood delays its sender and nobody else.
 * https://kubernetes.io/docs/concepts/cluster-administration/flow-control/
 */
export class FlowControl implements Fairness {
  readonly #options: FairnessOptions;
  #schemas: readonly k8s.FlowSchema[] = [];
  readonly #levels = new Map<string, { level: Level | undefined; uid: string }>();

  constructor(options: FairnessOptions) {
    this.#options = options;
    this.configure(options.flowSchemas, options.priorityLevels);
  }

  /** Takes what the objects say now. Requests under way and in queues keep their places; a level that is gone lets its own finish. */
  configure(schemas: readonly k8s.FlowSchema[], levels: readonly k8s.PriorityLevelConfiguration[]): void {
    const shares = levels.reduce((sum, { spec }) => sum + sharesOf(spec), 0);
    const names = new Set(levels.map(({ metadata }) => metadata?.name));
    for (const name of this.#levels.keys()) if (!names.has(name)) this.#levels.delete(name);
    for (const { metadata, spec } of levels) {
      const name = metadata?.name ?? "";
      const uid = metadata?.uid ?? "";
      if (spec?.type === "Exempt") {
        this.#levels.set(name, { level: undefined, uid });
        continue;
      }
      const limits = limitsOf(spec, this.#options.seats ?? SERVER_SEATS, shares);
      const known = this.#levels.get(name)?.level;
      known?.configure(limits);
      this.#levels.set(name, { level: known ?? this.#level(name, limits), uid });
    }
    this.#dispatch();
    this.#schemas = byPrecedence(
      schemas.filter(({ spec }) => this.#levels.has(spec?.priorityLevelConfiguration.name ?? "")),
    );
  }

  /** Levels with limits, by name. */
  *levels(): Iterable<Level> {
    for (const { level } of this.#levels.values()) if (level) yield level;
  }

  enter(info: RequestInfo, user: UserInfo, signal: AbortSignal | undefined, headers: Record<string, string> = {}) {
    const schema = matchFlow(this.#schemas, info, user);
    // Only until the objects are there, or when somebody has deleted what catches all: nobody is locked out.
    if (!schema) return EXEMPT;
    const { level, uid } = this.#levels.get(schema.spec!.priorityLevelConfiguration.name)!;
    headers["x-kubernetes-pf-flowschema-uid"] = schema.metadata?.uid ?? "";
    headers["x-kubernetes-pf-prioritylevel-uid"] = uid;
    if (!level) return EXEMPT;
    const flow = `${schema.metadata?.name}/${distinguisher(schema, info, user)}`;
    const entered = level.enter(flow, signal);
    return typeof entered === "function" ? this.#seat(entered) : entered.then((leave) => this.#seat(leave));
  }

  #seat(leave: () => void): Seat {
    return {
      leave: () => {
        leave();
        this.#dispatch();
      },
    };
  }

  /** A seat that was lent may be wanted back, or be wanted by another level. */
  #dispatch(): void {
    for (const level of this.levels()) level.dispatch();
  }

  #level(name: string, limits: LevelLimits): Level {
    const { clock, maxWaitMs = MAX_WAIT_MS } = this.#options;
    return new Level(name, limits, { clock, maxWaitMs, spare: (borrower) => this.#spare(borrower) });
  }

  /** Seats that nobody uses and their levels lend, less those that are lent already. */
  #spare(borrower: Level): number {
    let spare = 0;
    for (const level of this.levels()) spare += (level === borrower ? 0 : level.lendable) - level.borrowed;
    return spare;
  }
}

const EXEMPT: Seat = { leave() {} };

function sharesOf(spec: k8s.PriorityLevelConfigurationSpec | undefined): number {
  if (spec?.type === "Exempt") return spec.exempt?.nominalConcurrencyShares ?? 0;
  return spec?.limited?.nominalConcurrencyShares ?? 30;
}

function limitsOf(
  spec: k8s.PriorityLevelConfigurationSpec | undefined,
  serverSeats: number,
  shares: number,
): LevelLimits {
  const { lendablePercent = 0, borrowingLimitPercent, limitResponse } = spec?.limited ?? {};
  const seats = Math.ceil((serverSeats * sharesOf(spec)) / Math.max(1, shares));
  const { queues = 64, handSize = 8, queueLengthLimit = 50 } = limitResponse?.queuing ?? {};
  return {
    seats,
    lendableSeats: Math.round((seats * lendablePercent) / 100),
    borrowableSeats:
      borrowingLimitPercent === undefined ? undefined : Math.round((seats * borrowingLimitPercent) / 100),
    queuing: limitResponse?.type === "Queue" ? { queues, handSize, queueLengthLimit } : undefined,
  };
}
