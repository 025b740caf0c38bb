export interface ActionResult {
  readonly ok: boolean;
  /** What the event shows: the body, the error, the command's output. */
  readonly output: string;
}
