/** A connection that the kernel tracks (ctnetlink). */
export interface Flow {
  /** IP protocol number: 17 is UDP. */
  readonly protocol: number;
  readonly source: string;
  /** Where the client sent it, before any translation. */
  readonly destination: string;
  readonly destinationPort: number;
  /** Who answers: the endpoint that a Service's address was translated to. */
  readonly answeredBy: string;
  readonly answeredByPort: number;
}

export interface ConntrackHost {
  /** Forgets the flows of a family that `which` picks, so that their next packets are looked at as new ones. Returns how many. */
  forget(family: 4 | 6, which: (flow: Flow) => boolean): number;
}
