import { assert, canceled, failedPrecondition, messageOf, type Clock, type Logger } from "../base/index.ts";

/**
 * One part of the daemon with a life of its own. `start` resolves when the service is ready to be used by those that depend on it; what it
 * returns says how to stop it, which is done when all of those have stopped.
 */
export interface Service<T = unknown> {
  readonly name: string;
  readonly dependsOn: readonly Service[];
  start(use: Use, signal: AbortSignal): Promise<Started<T>>;
}

export interface Started<T> {
  readonly value: T;
  /** Ends what would outlive the daemon, because the machine goes down or the user wants it. Everything still runs meanwhile. */
  drain?(): Promise<void>;
  stop?(): Promise<void> | void;
}

/** What a declared dependency has become. */
export type Use = <T>(service: Service<T>) => T;

export type ServiceState = "waiting" | "starting" | "ready" | "failed" | "stopping" | "stopped";

export interface ServiceStatus {
  readonly name: string;
  readonly state: ServiceState;
  /** How long `start` took. */
  readonly startMs?: number;
  readonly error?: string;
}

interface Entry {
  readonly service: Service;
  state: ServiceState;
  startMs?: number;
  error?: unknown;
  started?: Started<unknown>;
  ready: Promise<void>;
}

/** How long a service that was told to give up starting is waited for. */
const GIVE_UP_MS = 5_000;

/** Starts services as soon as what they depend on is ready, side by side where they can, and stops them in the reverse order. */
export class Supervisor {
  readonly #entries = new Map<string, Entry>();
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #stopping = new AbortController();

  constructor(clock: Clock, log: Logger) {
    this.#clock = clock;
    this.#log = log;
  }

  /** Resolves when all are ready; throws the error of the first that fails. What had started goes on until `stop`. */
  async start(services: readonly Service[]): Promise<void> {
    for (const service of services) this.#add(service);
    await Promise.all([...this.#entries.values()].map((entry) => entry.ready));
  }

  /** Lets every service end what would outlive the daemon. One that fails is logged. */
  async drain(): Promise<void> {
    await Promise.all(
      [...this.#entries.values()].map(async ({ service, started }) => {
        try {
          await started?.drain?.();
        } catch (error) {
          this.#log.error("service failed to drain", { service: service.name, error });
        }
      }),
    );
  }

  /** Idempotent. A service that fails to stop is logged and does not hold up the others. */
  async stop(): Promise<void> {
    this.#stopping.abort(canceled("the daemon is stopping"));
    const stopped = new Map<string, Promise<void>>();
    for (const entry of [...this.#entries.values()].toReversed()) {
      const dependants = [...this.#entries.values()].filter(({ service }) => service.dependsOn.includes(entry.service));
      stopped.set(
        entry.service.name,
        Promise.all(dependants.map(({ service }) => stopped.get(service.name) ?? Promise.resolve())).then(() =>
          this.#stopOne(entry),
        ),
      );
    }
    await Promise.all(stopped.values());
  }

  status(): ServiceStatus[] {
    return [...this.#entries.values()].map(({ service, state, startMs, error }) => ({
      name: service.name,
      state,
      startMs,
      error: error === undefined ? undefined : messageOf(error),
    }));
  }

  #add(service: Service): void {
    assert(!this.#entries.has(service.name), `two services are named ${service.name}`);
    const dependencies = service.dependsOn.map((dependency) => {
      const entry = this.#entries.get(dependency.name);
      assert(
        entry?.service === dependency,
        `${service.name} depends on ${dependency.name}, which is not listed before it`,
      );
      return entry;
    });
    const entry: Entry = { service, state: "waiting", ready: Promise.resolve() };
    this.#entries.set(service.name, entry);
    entry.ready = Promise.all(dependencies.map(({ ready }) => ready)).then(() => this.#startOne(entry));
    entry.ready.catch(() => {});
  }

  async #startOne(entry: Entry): Promise<void> {
    const { service } = entry;
    const signal = this.#stopping.signal;
    if (signal.aborted) throw signal.reason;
    const use: Use = (dependency) => {
      assert(service.dependsOn.includes(dependency), `${service.name} did not declare ${dependency.name}`);
      const value = this.#entries.get(dependency.name)?.started?.value;
      return value as never;
    };
    const beganMs = this.#clock.monotonicMs();
    entry.state = "starting";
    try {
      entry.started = await service.start(use, signal);
    } catch (error) {
      entry.state = "failed";
      entry.error = error;
      this.#log.error("service failed to start", { service: service.name, error });
      throw failedPrecondition(`${service.name} did not start: ${messageOf(error)}`, {
        cause: error,
      });
    }
    entry.startMs = Math.round(this.#clock.monotonicMs() - beganMs);
    entry.state = "ready";
    this.#log.info("service ready", { service: service.name, startMs: entry.startMs });
  }

  async #stopOne(entry: Entry): Promise<void> {
    // A service that is still starting has been told to give up; one that does not listen must not hold up the rest.
    await Promise.race([entry.ready.catch(() => {}), this.#clock.sleep(GIVE_UP_MS)]);
    if (entry.state !== "ready") return;
    entry.state = "stopping";
    try {
      await entry.started?.stop?.();
    } catch (error) {
      this.#log.error("service failed to stop", { service: entry.service.name, error });
    }
    entry.state = "stopped";
  }
}
