import type { IncomingMessage } from "node:http";
import type { Duplex, Readable } from "node:stream";
import { BerthError, internal, unavailable, type ErrorCode } from "../base/index.ts";

const http = process.getBuiltinModule("node:http");

export interface CallOptions {
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>;
  readonly json?: unknown;
  readonly body?: Readable;
  readonly contentType?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

/** A client for one unix socket. Answers of 400 and above are thrown as errors with the daemon's message. */
export class SocketClient {
  readonly #socketPath: string;

  constructor(socketPath: string) {
    this.#socketPath = socketPath;
  }

  /** The answer's head is there; its body is still to be read. */
  async open(method: string, path: string, options: CallOptions = {}): Promise<IncomingMessage> {
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const request = this.#request(method, path, options, resolve, reject);
      if (options.body) options.body.pipe(request);
      else request.end(options.json === undefined ? undefined : JSON.stringify(options.json));
    });
    if (response.statusCode! >= 400) throw await toError(response);
    return response;
  }

  async json<T>(method: string, path: string, options: CallOptions = {}): Promise<T> {
    const text = await readText(await this.open(method, path, options));
    return (text === "" ? undefined : JSON.parse(text)) as T;
  }

  /** One JSON document a line, as they come. */
  async *lines<T>(method: string, path: string, options: CallOptions = {}): AsyncGenerator<T> {
    let rest = "";
    for await (const chunk of await this.open(method, path, options)) {
      const parts = (rest + String(chunk)).split("\n");
      rest = parts.pop() ?? "";
      for (const part of parts) if (part.trim() !== "") yield JSON.parse(part) as T;
    }
    if (rest.trim() !== "") yield JSON.parse(rest) as T;
  }

  /** A raw connection in both directions (attach, exec). */
  hijack(path: string, options: CallOptions = {}): Promise<Duplex> {
    return new Promise((resolve, reject) => {
      const refuse = (response: IncomingMessage) => void toError(response).then(reject, reject);
      const request = this.#request("POST", path, options, refuse, reject, { connection: "Upgrade", upgrade: "tcp" });
      request.on("upgrade", (_response, socket, head) => {
        if (head.length > 0) socket.unshift(head);
        resolve(socket);
      });
      request.end(options.json === undefined ? undefined : JSON.stringify(options.json));
    });
  }

  #request(
    method: string,
    path: string,
    options: CallOptions,
    resolve: (response: IncomingMessage) => void,
    reject: (error: Error) => void,
    headers: Record<string, string> = {},
  ) {
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(options.query ?? {}))
      if (value !== undefined) query.set(name, String(value));
    const text = query.toString();
    const request = http.request({
      socketPath: this.#socketPath,
      method,
      path: text ? `${path}?${text}` : path,
      signal: options.signal,
      headers: {
        host: "docker",
        ...options.headers,
        ...(options.json === undefined ? {} : { "content-type": "application/json" }),
        ...(options.contentType ? { "content-type": options.contentType } : {}),
        ...headers,
      },
    });
    request.on("response", resolve);
    request.on("error", (error: NodeJS.ErrnoException) => reject(connectionError(error, this.#socketPath)));
    return request;
  }
}

function connectionError(error: NodeJS.ErrnoException, socketPath: string): Error {
  if (error.code === "ENOENT" || error.code === "ECONNREFUSED") {
    return unavailable(`berth is not running (nobody listens on ${socketPath})`, {
      hint: "start it with `berth up -d`",
      cause: error,
    });
  }
  if (error.code === "EACCES") {
    return unavailable(`no permission to use ${socketPath}`, { hint: "be root or in the group docker", cause: error });
  }
  return error;
}

const CODES: Readonly<Record<number, ErrorCode>> = {
  400: "invalidArgument",
  401: "unauthenticated",
  403: "permissionDenied",
  404: "notFound",
  409: "conflict",
  501: "notImplemented",
  503: "unavailable",
};

async function toError(response: IncomingMessage): Promise<Error> {
  const text = await readText(response);
  let message = text;
  let hint: string | undefined;
  try {
    ({ message, hint } = JSON.parse(text) as { message: string; hint?: string });
  } catch {
    // Not Docker's error body: show it as it is.
  }
  const code = CODES[response.statusCode!];
  return code ? new BerthError(code, message, { hint }) : internal(message, { hint });
}

export async function readText(source: AsyncIterable<unknown>): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of source) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString("utf8");
}
