import { createSocket } from "node:dgram";
import { connect } from "node:net";
import { deadlineExceeded, type Clock, type Random, randomInt, SingleFlight, unavailable } from "../../base/index.ts";
import { framed } from "./server.ts";
import { isTruncated, messageId, readQuestion, rcodeOf, RCODE, withId } from "./wire.ts";

const TIMEOUT_MS = 2000;
const MAX_CACHE_ENTRIES = 10_000;
/** Answers are kept no longer than this, whatever their TTL says (CoreDNS' cache in clusters: 30 s). */
const MAX_TTL_MS = 30_000;

export interface ForwarderOptions {
  /** Asked on each query, since resolv.conf may change. */
  readonly servers: () => readonly string[];
  readonly clock: Clock;
  readonly random: Random;
  readonly timeoutMs?: number;
}

/** Passes queries on to upstream servers, the next one when one fails, and remembers answers for at most their TTL. */
export class DnsForwarder {
  readonly #options: ForwarderOptions;
  readonly #flights = new SingleFlight<Buffer>();
  /** By question and flags; insertion order is age, the oldest goes first. */
  readonly #cache = new Map<string, { answer: Buffer; untilMs: number }>();

  constructor(options: ForwarderOptions) {
    this.#options = options;
  }

  /** Throws unavailable when no server answers. */
  async forward(query: Buffer, transport: "udp" | "tcp"): Promise<Buffer> {
    const key = `${transport}${query.toString("latin1", 2)}`;
    const cached = this.#cached(key);
    if (cached) return withId(cached, messageId(query));
    const answer = await this.#flights.run(key, async () => {
      const fresh = await this.#ask(query, transport);
      this.#remember(key, fresh);
      return fresh;
    });
    return withId(answer, messageId(query));
  }

  #cached(key: string): Buffer | undefined {
    const hit = this.#cache.get(key);
    if (hit && hit.untilMs > this.#options.clock.monotonicMs()) return hit.answer;
    this.#cache.delete(key);
    return undefined;
  }

  #remember(key: string, answer: Buffer): void {
    const ttlMs = Math.min(smallestTtlMs(answer), MAX_TTL_MS);
    if (ttlMs <= 0) return;
    if (this.#cache.size >= MAX_CACHE_ENTRIES) this.#cache.delete(this.#cache.keys().next().value!);
    this.#cache.set(key, { answer, untilMs: this.#options.clock.monotonicMs() + ttlMs });
  }

  async #ask(query: Buffer, transport: "udp" | "tcp"): Promise<Buffer> {
    const { clock, random, timeoutMs = TIMEOUT_MS } = this.#options;
    const ours = withId(query, randomInt(random, 65_536));
    let last: unknown;
    for (const server of this.#options.servers()) {
      try {
        const answer = await (transport === "udp" ? askUdp : askTcp)(ours, server, clock, timeoutMs);
        if (rcodeOf(answer) !== RCODE.serverFailure && rcodeOf(answer) !== RCODE.refused) return answer;
        last = answer;
      } catch (error) {
        last = error;
      }
    }
    if (last instanceof Buffer) return last;
    throw unavailable("no upstream DNS server answered", { cause: last });
  }
}

/** `address`, `address:port` or `[address]:port`. */
function endpoint(server: string): { host: string; port: number } {
  const match = /^\[(.+)\]:(\d+)$/.exec(server) ?? /^([^:]+):(\d+)$/.exec(server);
  return match ? { host: match[1]!, port: Number(match[2]) } : { host: server, port: 53 };
}

/** An answer counts only if it comes from the server, has our id and repeats our question. */
function answers(answer: Buffer, query: Buffer): boolean {
  const question = readQuestion(query);
  if (!question || answer.length < question.end || messageId(answer) !== messageId(query)) return false;
  return answer.subarray(12, question.end).equals(query.subarray(12, question.end)) && (answer[2]! & 0x80) !== 0;
}

function askUdp(query: Buffer, server: string, clock: Clock, timeoutMs: number): Promise<Buffer> {
  const { host, port } = endpoint(server);
  return new Promise((resolve, reject) => {
    const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
    const timer = clock.after(timeoutMs, () => finish(deadlineExceeded(`DNS server ${server} did not answer`)));
    const finish = (result: Buffer | Error) => {
      timer.cancel();
      socket.close();
      if (result instanceof Error) reject(result);
      else resolve(result);
    };
    socket.once("error", finish);
    socket.on("message", (answer) => {
      if (answers(answer, query)) finish(answer);
    });
    socket.connect(port, host, () => socket.send(query));
  });
}

function askTcp(query: Buffer, server: string, clock: Clock, timeoutMs: number): Promise<Buffer> {
  const { host, port } = endpoint(server);
  return new Promise((resolve, reject) => {
    const socket = connect(port, host, () => socket.write(framed(query)));
    let pending = Buffer.alloc(0);
    const timer = clock.after(timeoutMs, () => socket.destroy(deadlineExceeded(`DNS server ${server} did not answer`)));
    socket.once("error", reject);
    socket.once("close", () => {
      timer.cancel();
      reject(unavailable(`DNS server ${server} closed the connection`));
    });
    socket.on("data", (chunk: Buffer) => {
      pending = Buffer.concat([pending, chunk]);
      if (pending.length < 2 || pending.length < 2 + pending.readUInt16BE(0)) return;
      const answer = Buffer.from(pending.subarray(2, 2 + pending.readUInt16BE(0)));
      if (answers(answer, query)) resolve(answer);
      socket.destroy();
    });
  });
}

/** The smallest TTL of an answer with records; 0 (do not keep) for errors, truncated ones, and what cannot be read. */
function smallestTtlMs(answer: Buffer): number {
  if (rcodeOf(answer) !== RCODE.noError || isTruncated(answer) || answer.readUInt16BE(6) === 0) return 0;
  let at = skipName(answer, 12) + 4;
  let smallest = Infinity;
  for (let left = answer.readUInt16BE(6); left > 0; left--) {
    at = skipName(answer, at);
    if (at + 10 > answer.length) return 0;
    smallest = Math.min(smallest, answer.readUInt32BE(at + 4));
    at += 10 + answer.readUInt16BE(at + 8);
  }
  return smallest * 1000;
}

function skipName(message: Buffer, start: number): number {
  let at = start;
  while (at < message.length) {
    const length = message[at]!;
    if (length >= 0xc0) return at + 2;
    at += 1 + length;
    if (length === 0) break;
  }
  return at;
}
