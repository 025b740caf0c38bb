/** What one expression may cost when it is evaluated, in upstream's units: about a tenth of a second there. */
export const PER_CALL = 1_000_000;
/** What all expressions of an object or of a policy's binding may cost together. */
export const PER_OBJECT = 10_000_000;
/** What the match conditions of a webhook or policy may cost together. */
export const PER_MATCH_CONDITIONS = 2_500_000;

/** Ends an expression that has cost too much. Inside of `||` and the like it counts as any other error, so whoever runs one asks again at its end. */
export class CostExceeded extends Error {
  constructor() {
    super("operation cancelled: actual cost limit exceeded");
  }
}

/** The expression that runs now; evaluation is synchronous, so that there is one at most, with those that it calls. */
let running: { spent: number } | undefined;

/** Called by what an expression does. */
export function spend(cost: number): void {
  if (running === undefined) return;
  running.spent += cost;
  if (running.spent > PER_CALL) throw new CostExceeded();
}

/** Runs an expression and says what it has cost. What it calls in turn counts as its own. Throws CostExceeded. */
export function metered<T>(base: number, work: () => T): { readonly value: T; readonly cost: number } {
  if (running !== undefined) {
    spend(base);
    return { value: work(), cost: 0 };
  }
  const meter = (running = { spent: 0 });
  try {
    spend(base);
    const value = work();
    if (meter.spent > PER_CALL) throw new CostExceeded();
    return { value, cost: meter.spent };
  } finally {
    running = undefined;
  }
}

/** What several expressions share. */
export class Budget {
  readonly #limit: number;
  #taken = 0;

  constructor(limit = Infinity) {
    this.#limit = limit;
  }

  get taken(): number {
    return this.#taken;
  }

  get isSpent(): boolean {
    return this.#taken > this.#limit;
  }

  take(cost: number): void {
    this.#taken += cost;
  }
}
