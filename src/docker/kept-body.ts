import type { IncomingMessage } from "node:http";
import { Readable } from "node:stream";

/**
 * A request's body for a reader who may throw it away half read. Destroying the request itself would close the connection, and the client is
 * still to hear why its archive was refused.
 */
export class KeptBody extends Readable {
  readonly #request: IncomingMessage;
  #begun = false;

  constructor(request: IncomingMessage) {
    super();
    this.#request = request;
  }

  override _read(): void {
    if (!this.#begun) this.#begin();
    this.#request.resume();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    if (this.#begun) this.#request.off("data", this.#onData).pause();
    done(error);
  }

  #begin(): void {
    this.#begun = true;
    this.#request.on("data", this.#onData);
    this.#request.on("end", () => this.push(null));
    this.#request.on("error", (error) => this.destroy(error));
  }

  readonly #onData = (chunk: Buffer): void => {
    if (!this.push(chunk)) this.#request.pause();
  };
}
