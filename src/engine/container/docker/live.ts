import { conflict } from "../../../base/index.ts";
import type { RuntimeContainer, Sandbox } from "../runtime/index.ts";
import type { HealthMonitor } from "./health.ts";
import type { ContainerRecord } from "./record.ts";

/** A container that runs now. */
export interface Live {
  readonly container: RuntimeContainer;
  readonly sandbox: Sandbox;
  /** On the clock that doesn't jump; where the daemon came later than the container, by what the wall clock says. */
  readonly startedMonotonicMs: number;
  health?: HealthMonitor;
  /** Aborted when the container has ended and all its output is in the log. */
  readonly ended: AbortController;
}

/** The containers that run now, by id. */
export class LiveContainers {
  readonly #byId = new Map<string, Live>();

  /** Throws conflict, in Docker's words, for a container that doesn't run. */
  get(record: ContainerRecord): Live {
    const live = this.#byId.get(record.id);
    if (!live) throw conflict(`container ${record.id} is not running`);
    return live;
  }
  find(id: string): Live | undefined {
    return this.#byId.get(id);
  }
  add(id: string, live: Live): void {
    this.#byId.set(id, live);
  }
  /** False when it is not the one that runs (any more). */
  remove(id: string, live: Live): boolean {
    return this.#byId.get(id) === live && this.#byId.delete(id);
  }
  entries(): Iterable<[string, Live]> {
    return this.#byId;
  }
}
