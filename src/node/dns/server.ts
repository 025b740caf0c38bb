import { decode, encode, type Answer, type DecodedPacket, type Packet } from "dns-packet";
import { kernelName, type InstanceContext } from "../../base/index.ts";
import type { k8s } from "../../api/index.ts";
import type { AnyObject, Informer } from "../../client/index.ts";
import {
  DnsForwarder,
  DnsServer,
  emptyAnswer,
  LinuxNetlinkHost,
  messageId,
  RCODE,
  readQuestion,
  withId,
  type NetlinkHost,
} from "../../host/index.ts";
import {
  SERVICE_BY_ADDRESS,
  serviceAddresses,
  sliceAddresses,
  SLICES_BY_ADDRESS,
  SLICES_BY_SERVICE,
  sliceService,
  Zone,
  type Lookup,
} from "./zone.ts";

/** CoreDNS' default: short, since Services come and go. */
const TTL_S = 5;
const MAX_CACHED_ANSWERS = 20_000;
const UDP_PAYLOAD_BYTES = 1232;
const AUTHORITATIVE = 1 << 10;
const RECURSION_AVAILABLE = 1 << 7;
const RECURSION_DESIRED = 1 << 8;

/** What is used of an informer. */
export type DnsSource<T extends AnyObject> = Pick<
  Informer<T>,
  "get" | "byIndex" | "inNamespace" | "addIndex" | "onChange"
>;

export interface ClusterDnsOptions {
  /** `cluster.local`. */
  readonly domain: string;
  readonly services: DnsSource<k8s.Service>;
  readonly slices: DnsSource<k8s.EndpointSlice>;
  /** Upstream servers; asked on each query, since resolv.conf may change. */
  readonly upstream: () => readonly string[];
  /** Servers for other zones, by their name (`corp.example`). */
  readonly stubDomains?: Readonly<Record<string, readonly string[]>>;
  readonly netlink?: NetlinkHost;
}

/** The cluster's DNS: Services, endpoints and Pods from the informers, everything else from upstream. */
export class ClusterDns {
  readonly #ctx: InstanceContext;
  readonly #options: ClusterDnsOptions;
  readonly #zone: Zone;
  readonly #upstream: DnsForwarder;
  readonly #stubs: [suffix: string, forwarder: DnsForwarder][];
  /** Answers of ours by the query's bytes after its id. Emptied when a Service or slice changes. */
  readonly #answers = new Map<string, Buffer>();
  #server: DnsServer | undefined;

  constructor(ctx: InstanceContext, options: ClusterDnsOptions) {
    this.#ctx = ctx;
    this.#options = options;
    const { services, slices, domain } = options;
    services.addIndex(SERVICE_BY_ADDRESS, serviceAddresses);
    slices.addIndex(SLICES_BY_SERVICE, sliceService);
    slices.addIndex(SLICES_BY_ADDRESS, sliceAddresses);
    const forget = () => this.#answers.clear();
    services.onChange({ added: forget, updated: forget, deleted: forget });
    slices.onChange({ added: forget, updated: forget, deleted: forget });
    this.#zone = new Zone({ domain, services, slices });
    const { clock, random } = ctx;
    this.#upstream = new DnsForwarder({ servers: options.upstream, clock, random });
    this.#stubs = Object.entries(options.stubDomains ?? {}).map(([suffix, servers]) => [
      suffix.toLowerCase(),
      new DnsForwarder({ servers: () => servers, clock, random }),
    ]);
  }

  /** Serves on the cluster's DNS address, which is put on a link of its own. Port 0 is for tests. */
  async listen(address: string, port = 53): Promise<number> {
    this.#ensureAddress(address);
    this.#server = await DnsServer.listen(
      { address, port },
      (query, transport) => this.answer(query, transport),
      this.#ctx.clock,
    );
    return this.#server.port;
  }

  #ensureAddress(address: string): void {
    if (/^127\.|^::1$/.test(address)) return;
    using netlink = (this.#options.netlink ?? new LinuxNetlinkHost()).open();
    const name = this.#linkName;
    const link =
      netlink.link(name)?.index ??
      netlink.addLink({ name, kind: { type: "bridge" }, up: true, alias: "berth cluster DNS" });
    netlink.addAddress(link, `${address}/${address.includes(":") ? 128 : 32}`);
  }

  get #linkName(): string {
    return kernelName(this.#ctx.instance, "dns");
  }

  answer(query: Buffer, transport: "udp" | "tcp"): Buffer | Promise<Buffer> {
    const key = query.toString("latin1", 2);
    const cached = this.#answers.get(key);
    if (cached) return withId(cached, messageId(query));
    const question = readQuestion(query);
    if (!question)
      return emptyAnswer(
        query,
        query.length > 2 && (query[2]! & 0x78) !== 0 ? RCODE.notImplemented : RCODE.formatError,
      );
    const stub = this.#stubs.find(([suffix]) => question.name === suffix || question.name.endsWith(`.${suffix}`));
    if (stub) return stub[1].forward(query, transport);
    const packet = decode(query);
    const type = packet.questions![0]!.type as string;
    const found = this.#zone.lookup(question.name, type);
    if (found.kind === "elsewhere") return this.#upstream.forward(query, transport);
    if (found.kind === "alias") return this.#follow(packet, found.target, type, transport);
    const answer = encodeAnswer(packet, found, this.#options.domain);
    if (this.#answers.size >= MAX_CACHED_ANSWERS) this.#answers.clear();
    this.#answers.set(key, answer);
    return answer;
  }

  /** An ExternalName: the alias, and what it leads to, in the cluster or upstream. */
  async #follow(packet: DecodedPacket, target: string, type: string, transport: "udp" | "tcp"): Promise<Buffer> {
    const alias: Answer = { type: "CNAME", name: packet.questions![0]!.name, ttl: TTL_S, data: target };
    const further: Answer[] = [];
    if (type !== "CNAME") {
      const onward = encode({
        type: "query",
        id: packet.id,
        flags: RECURSION_DESIRED,
        questions: [{ type: type as "A", name: target }],
      });
      try {
        // A chain of ExternalNames would come back here; the one step is enough for resolvers, which go on by themselves.
        const inside = this.#zone.lookup(target.toLowerCase(), type).kind;
        const found = inside === "alias" ? undefined : await this.answer(onward, transport);
        if (found) further.push(...(decode(found).answers ?? []));
      } catch {
        // the alias alone is an answer
      }
    }
    return encodeRecords(packet, [alias, ...further], [], [], RCODE.noError);
  }

  async close(): Promise<void> {
    await this.#server?.[Symbol.asyncDispose]();
    this.#server = undefined;
  }

  async destroyAll(): Promise<void> {
    await this.close();
    using netlink = (this.#options.netlink ?? new LinuxNetlinkHost()).open();
    const link = netlink.link(this.#linkName);
    if (link) netlink.deleteLink(link.index);
  }
}

function encodeAnswer(
  query: DecodedPacket,
  found: Exclude<Lookup, { kind: "elsewhere" | "alias" }>,
  domain: string,
): Buffer {
  if (found.kind === "records") {
    const toAnswer = (one: (typeof found.records)[number]) => ({ ...one, ttl: TTL_S }) as Answer;
    const records = found.records.map(toAnswer);
    // The names that a client asked for are spelt as it spelt them.
    const asked = query.questions![0]!.name;
    const named = records.map((one) => ({ ...one, name: asked }) as Answer);
    return encodeRecords(query, named, [], (found.additionals ?? []).map(toAnswer), RCODE.noError);
  }
  return encodeRecords(
    query,
    [],
    [startOfAuthority(domain)],
    [],
    found.kind === "noName" ? RCODE.nameError : RCODE.noError,
  );
}

/** Negative answers carry it, so that resolvers know for how long to remember them (RFC 2308). */
function startOfAuthority(domain: string): Answer {
  const data = {
    mname: `ns.dns.${domain}`,
    rname: `hostmaster.${domain}`,
    serial: 1,
    refresh: 7200,
    retry: 1800,
    expire: 86_400,
    minimum: TTL_S,
  };
  return { type: "SOA", name: domain, ttl: TTL_S, data };
}

function encodeRecords(
  query: DecodedPacket,
  answers: Answer[],
  authorities: Answer[],
  additionals: Answer[],
  rcode: number,
): Buffer {
  const flags = AUTHORITATIVE | RECURSION_AVAILABLE | (query.flag_rd ? RECURSION_DESIRED : 0) | rcode;
  const extended = (query.additionals ?? []).some((one) => one.type === "OPT");
  const opt = { type: "OPT", name: ".", udpPayloadSize: UDP_PAYLOAD_BYTES, flags: 0, options: [] } as unknown as Answer;
  const packet: Packet = {
    type: "response",
    id: query.id,
    flags,
    questions: query.questions,
    answers,
    authorities,
    additionals: extended ? [...additionals, opt] : additionals,
  };
  return encode(packet);
}
