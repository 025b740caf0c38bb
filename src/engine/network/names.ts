import { randomInt, type Clock, type Logger, type Random } from "../../base/index.ts";
import {
  addressBytes,
  addressText,
  DnsForwarder,
  DnsServer,
  emptyAnswer,
  messageId,
  RCODE,
  readQuestion,
  type NetnsHost,
  type NftHost,
  type SocketHost,
} from "../../host/index.ts";
import { EMBEDDED_DNS } from "./files.ts";
import { resolverRuleset } from "./ruleset.ts";
import type { Endpoint, Sandbox } from "./types.ts";

const TYPE_A = 1;
const TYPE_PTR = 12;
const TYPE_AAAA = 28;
/** Docker's, for every answer of its own. */
const TTL_S = 600;

/** What a name means to a sandbox. */
export interface NameLookup {
  /** Endpoints that answer to `name`, on the networks the sandbox is on; undefined when none of them knows it. */
  endpointsByName(sandboxId: string, name: string): readonly Endpoint[] | undefined;
  nameByAddress(sandboxId: string, address: string): string | undefined;
  /** False when the sandbox is only on internal networks: then nothing is asked upstream. */
  isExternal(sandboxId: string): boolean;
  /** Upstream servers for the sandbox. */
  servers(sandboxId: string): readonly string[];
}

export interface EmbeddedDnsOptions {
  readonly netns: NetnsHost;
  readonly sockets: SocketHost;
  readonly nft: NftHost;
  readonly lookup: NameLookup;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
}

/**
 * A resolver at 127.0.0.11 in each sandbox on a user-defined network, served by this process over sockets opened in the sandbox's namespace. They have
 * ports of their own, to which a rule in the namespace leads port 53, as with dockerd: a container may serve DNS itself on every address it has.
 */
export class EmbeddedDns {
  readonly #options: EmbeddedDnsOptions;
  readonly #servers = new Map<string, Promise<DnsServer | undefined>>();
  readonly #rules = new Map<string, Promise<void>>();

  constructor(options: EmbeddedDnsOptions) {
    this.#options = options;
  }

  /** Opens the resolver of a sandbox, unless it is open. `settled` says when its rule stands too. */
  async open(sandbox: Sandbox): Promise<void> {
    const { id } = sandbox.spec;
    if (this.#servers.has(id)) return;
    const opening = this.#listen(id, sandbox.netnsPath).catch((error: unknown) => {
      this.#options.log.warn("no embedded DNS in a sandbox", { sandbox: id, error });
      return undefined;
    });
    this.#servers.set(id, opening);
    await opening;
  }

  /** Resolves when a sandbox's resolver can be asked. */
  async settled(sandboxId: string): Promise<void> {
    await this.#rules.get(sandboxId);
  }

  async close(sandboxId: string): Promise<void> {
    this.#rules.delete(sandboxId);
    const server = this.#servers.get(sandboxId);
    this.#servers.delete(sandboxId);
    await (await server)?.[Symbol.asyncDispose]();
  }

  async closeAll(): Promise<void> {
    await Promise.all([...this.#servers.keys()].map((id) => this.close(id)));
  }

  async #listen(id: string, netnsPath: string): Promise<DnsServer> {
    const { netns, sockets, nft, lookup, clock, random, log } = this.#options;
    const bound = netns.enter(netnsPath, () => {
      const udp = sockets.bind({ protocol: "udp", address: EMBEDDED_DNS, port: 0 });
      try {
        return { udp, tcp: sockets.bind({ protocol: "tcp", address: EMBEDDED_DNS, port: 0, backlog: 16 }) };
      } catch (error) {
        udp.close();
        throw error;
      }
    });
    const rule = nft
      .load(resolverRuleset(bound.udp.port, bound.tcp.port), undefined, netnsPath)
      .catch((error: unknown) => log.warn("no embedded DNS in a sandbox", { sandbox: id, error }));
    this.#rules.set(id, rule);
    const forwarder = new DnsForwarder({ servers: () => lookup.servers(id), clock, random });
    const handler = (query: Buffer, transport: "udp" | "tcp") =>
      answerLocally(query, id, lookup, random) ??
      (lookup.isExternal(id) ? forwarder.forward(query, transport) : emptyAnswer(query, RCODE.serverFailure));
    return DnsServer.listen({ udpFd: bound.udp.fd, tcpFd: bound.tcp.fd }, handler, clock);
  }
}

/** The answer for names and addresses of our own; undefined for everybody else's. */
export function answerLocally(
  query: Buffer,
  sandboxId: string,
  lookup: NameLookup,
  random: Random,
): Buffer | undefined {
  const question = readQuestion(query);
  if (!question) return emptyAnswer(query, RCODE.formatError);
  if (question.type === TYPE_PTR) {
    const address = reverseAddress(question.name);
    const name = address && lookup.nameByAddress(sandboxId, address);
    return name ? answer(query, question.end, [record(TYPE_PTR, encodeName(name))]) : undefined;
  }
  const endpoints = lookup.endpointsByName(sandboxId, question.name);
  if (!endpoints) return undefined;
  if (question.type !== TYPE_A && question.type !== TYPE_AAAA) return emptyAnswer(query, RCODE.noError);
  const addresses = endpoints
    .map((endpoint) => (question.type === TYPE_A ? endpoint.ipv4Address : endpoint.ipv6Address))
    .filter(Boolean);
  const first = randomInt(random, Math.max(addresses.length, 1));
  const rotated = [...addresses.slice(first), ...addresses.slice(0, first)];
  return answer(
    query,
    question.end,
    rotated.map((address) => record(question.type, addressBytes(address))),
  );
}

function answer(query: Buffer, questionEnd: number, records: readonly Buffer[]): Buffer {
  const head = emptyAnswer(query.subarray(0, questionEnd), RCODE.noError);
  head.writeUInt16BE(messageId(query), 0);
  head.writeUInt16BE(records.length, 6);
  return Buffer.concat([head, ...records]);
}

/** A record for the name in the question, to which its first two bytes point (RFC 1035, 4.1.4). */
function record(type: number, data: Buffer): Buffer {
  const head = Buffer.alloc(12);
  head.writeUInt16BE(0xc00c, 0);
  head.writeUInt16BE(type, 2);
  head.writeUInt16BE(1, 4);
  head.writeUInt32BE(TTL_S, 6);
  head.writeUInt16BE(data.length, 10);
  return Buffer.concat([head, data]);
}

function encodeName(name: string): Buffer {
  const labels = name.split(".").map((label) => Buffer.from(`${String.fromCharCode(label.length)}${label}`, "latin1"));
  return Buffer.concat([...labels, Buffer.alloc(1)]);
}

/** `2.0.17.172.in-addr.arpa` and `…ip6.arpa` as an address; undefined for anything else. */
export function reverseAddress(name: string): string | undefined {
  const four = /^((?:\d{1,3}\.){4})in-addr\.arpa$/.exec(name);
  if (four) return four[1]!.slice(0, -1).split(".").reverse().join(".");
  const six = /^((?:[0-9a-f]\.){32})ip6\.arpa$/.exec(name);
  if (!six) return undefined;
  return addressText(Buffer.from(six[1]!.replaceAll(".", "").split("").reverse().join(""), "hex"));
}
