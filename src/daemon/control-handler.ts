/** What a service is asked over the control socket. */
export interface ControlRequest {
  readonly method: string;
  /** Behind the service's own name: `["berth-2", "stop"]` of `/nodes/berth-2/stop`. */
  readonly path: readonly string[];
  readonly query: URLSearchParams;
}

/** Answers with what becomes JSON; throws BerthErrors. */
export type ControlHandler = (request: ControlRequest) => Promise<unknown>;
