/** The Kubernetes API over TLS with a kubeconfig and nothing else between: what tests send is what they wrote. */
import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import https from "node:https";
import { load } from "js-yaml";

export interface Answer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  /** Parsed where it is JSON, else the text. */
  // oxlint-disable-next-line typescript/no-explicit-any -- objects of every kind
  body: any;
}

export interface Request {
  body?: unknown;
  headers?: Record<string, string>;
}

export interface WatchEvent {
  type: string;
  // oxlint-disable-next-line typescript/no-explicit-any -- objects of every kind
  object: any;
}

export const MERGE = "application/merge-patch+json";
export const STRATEGIC = "application/strategic-merge-patch+json";
export const JSON_PATCH = "application/json-patch+json";
export const APPLY = "application/apply-patch+yaml";

export class Api {
  #server!: URL;
  tls!: { ca: Buffer; cert: Buffer; key: Buffer };
  readonly #agent = new https.Agent({ keepAlive: true, maxSockets: 16 });

  constructor(kubeconfig?: string) {
    if (kubeconfig !== undefined) this.connect(kubeconfig);
  }

  connect(kubeconfig: string): void {
    const config = load(readFileSync(kubeconfig, "utf8")) as {
      clusters: Array<{ cluster: { server: string; "certificate-authority-data": string } }>;
      users: Array<{ user: { "client-certificate-data": string; "client-key-data": string } }>;
    };
    const { server, "certificate-authority-data": ca } = config.clusters[0]!.cluster;
    const user = config.users[0]!.user;
    this.#server = new URL(server);
    this.tls = {
      ca: Buffer.from(ca, "base64"),
      cert: Buffer.from(user["client-certificate-data"], "base64"),
      key: Buffer.from(user["client-key-data"], "base64"),
    };
    new X509Certificate(this.tls.cert);
  }

  close(): void {
    this.#agent.destroy();
  }

  url(path: string): string {
    return `${this.#server.origin}${path}`;
  }

  #open(
    method: string,
    path: string,
    { body, headers = {} }: Request,
    signal?: AbortSignal,
  ): Promise<import("node:http").IncomingMessage> {
    return new Promise((resolve, reject) => {
      const text = body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body);
      const request = https.request(
        {
          host: this.#server.hostname,
          port: this.#server.port,
          agent: this.#agent,
          ...this.tls,
          method,
          path,
          ...(signal && { signal }),
          headers: {
            accept: "application/json",
            ...(text !== undefined && {
              "content-type": "application/json",
              "content-length": String(Buffer.byteLength(text)),
            }),
            ...headers,
          },
        },
        resolve,
      );
      request.on("error", reject);
      request.end(text);
    });
  }

  async call(method: string, path: string, request: Request = {}): Promise<Answer> {
    const response = await this.#open(method, path, request);
    const chunks: Buffer[] = [];
    for await (const chunk of response) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString();
    const isJson = String(response.headers["content-type"]).includes("json");
    return { status: response.statusCode!, headers: response.headers, body: isJson && text ? JSON.parse(text) : text };
  }

  /** As `call`, and throws what the server said unless it is a success. */
  // oxlint-disable-next-line typescript/no-explicit-any -- objects of every kind
  async ok(method: string, path: string, request: Request = {}): Promise<any> {
    const answer = await this.call(method, path, request);
    if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
    return answer.body;
  }

  // oxlint-disable-next-line typescript/no-explicit-any -- objects of every kind
  patch(path: string, body: unknown, type = MERGE): Promise<any> {
    return this.ok("PATCH", path, { body, headers: { "content-type": type } });
  }

  /** Events from the moment on that this resolves; `next` throws when none comes within its time. */
  async watch(path: string): Promise<Watch> {
    const stop = new AbortController();
    const response = await this.#open("GET", path + (path.includes("?") ? "&" : "?") + "watch=true", {}, stop.signal);
    return new Watch(response, stop);
  }
}

const PATIENCE_MS = 30_000;

export class Watch {
  readonly #events: AsyncIterator<WatchEvent>;
  readonly #stop: AbortController;

  constructor(response: AsyncIterable<Buffer>, stop: AbortController) {
    this.#events = lines(response);
    this.#stop = stop;
  }

  /** The next event that is as wanted; those before it are passed over. */
  async until(wanted: (event: WatchEvent) => unknown, what = "an event"): Promise<WatchEvent> {
    const seen: string[] = [];
    const late = setTimeout(() => this.#stop.abort(), PATIENCE_MS);
    try {
      for (;;) {
        const { value, done } = await this.#events.next();
        if (done) throw new Error(`the watch ended without ${what}; seen: ${seen.join(", ")}`);
        if (wanted(value)) return value;
        seen.push(`${value.type} ${value.object?.metadata?.name} ${value.object?.metadata?.resourceVersion}`);
      }
    } catch (error) {
      if (this.#stop.signal.aborted)
        throw new Error(`no ${what} in the watch; seen: ${seen.join(", ")}`, { cause: error });
      throw error;
    } finally {
      clearTimeout(late);
    }
  }

  next(): Promise<WatchEvent> {
    return this.until(() => true);
  }

  close(): void {
    this.#stop.abort();
  }
}

async function* lines(response: AsyncIterable<Buffer>): AsyncGenerator<WatchEvent> {
  let rest = "";
  for await (const chunk of response) {
    const parts = (rest + chunk.toString()).split("\n");
    rest = parts.pop()!;
    for (const part of parts) if (part) yield JSON.parse(part) as WatchEvent;
  }
}

/** Polls until the condition holds. */
export async function eventually<T>(what: string, check: () => Promise<T | undefined | false | null>): Promise<T> {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const result = await check();
    if (result) return result;
    if (Date.now() > deadline) throw new Error(`never: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
