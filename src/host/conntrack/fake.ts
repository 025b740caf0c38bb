import type { ConntrackHost, Flow } from "./types.ts";

/** Connections in memory. For tests. */
export class FakeConntrack implements ConntrackHost {
  flows: Flow[] = [];

  forget(family: 4 | 6, which: (flow: Flow) => boolean): number {
    const before = this.flows.length;
    this.flows = this.flows.filter((flow) => flow.source.includes(":") !== (family === 6) || !which(flow));
    return before - this.flows.length;
  }
}
