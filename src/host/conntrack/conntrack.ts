import { hasCode } from "../../base/index.ts";
import { addressText } from "../netlink/index.ts";
import * as nl from "../netlink/message.ts";
import { NETLINK_NETFILTER, NetlinkSocket } from "../netlink/socket.ts";
import type { ConntrackHost, Flow } from "./types.ts";

// Numbers of linux/netfilter/nfnetlink_conntrack.h.
const SUBSYSTEM = 1;
const MSG = { get: 1, delete: 2 };
const CTA = { original: 1, reply: 2 };
const CTA_TUPLE = { ip: 1, protocol: 2 };
const CTA_IP = { source4: 1, destination4: 2, source6: 3, destination6: 4 };
const CTA_PROTO = { number: 1, sourcePort: 2, destinationPort: 3 };
const HEADER_BYTES = 4;
const FAMILIES = { 4: 2, 6: 10 } as const;

export class LinuxConntrack implements ConntrackHost {
  forget(family: 4 | 6, which: (flow: Flow) => boolean): number {
    using socket = new NetlinkSocket(NETLINK_NETFILTER);
    const header = Buffer.from([FAMILIES[family], 0, 0, 0]);
    const type = (message: number) => (SUBSYSTEM << 8) | message;
    let forgotten = 0;
    for (const message of socket.dump("list connections", type(MSG.get), header)) {
      const found = nl.attributes(message.body.subarray(HEADER_BYTES));
      const original = found.get(CTA.original);
      const flow = original && decodeFlow(original, found.get(CTA.reply));
      if (!flow || !which(flow)) continue;
      try {
        const body = nl.join([header, nl.nested(CTA.original, [original])]);
        socket.request("forget a connection", type(MSG.delete), 0, body);
        forgotten++;
      } catch (error) {
        if (!hasCode(error, "notFound")) throw error;
      }
    }
    return forgotten;
  }
}

function decodeFlow(original: Buffer, reply: Buffer | undefined): Flow | undefined {
  const [there, back] = [decodeTuple(original), reply && decodeTuple(reply)];
  if (!there || !back) return undefined;
  return {
    protocol: there.protocol,
    source: there.source,
    destination: there.destination,
    destinationPort: there.destinationPort,
    answeredBy: back.source,
    answeredByPort: back.sourcePort,
  };
}

function decodeTuple(tuple: Buffer) {
  const parts = nl.attributes(tuple);
  const ip = nl.attributes(parts.get(CTA_TUPLE.ip) ?? Buffer.alloc(0));
  const protocol = nl.attributes(parts.get(CTA_TUPLE.protocol) ?? Buffer.alloc(0));
  const source = ip.get(CTA_IP.source4) ?? ip.get(CTA_IP.source6);
  const destination = ip.get(CTA_IP.destination4) ?? ip.get(CTA_IP.destination6);
  if (!source || !destination) return undefined;
  return {
    source: addressText(source),
    destination: addressText(destination),
    protocol: protocol.get(CTA_PROTO.number)?.readUInt8() ?? 0,
    sourcePort: protocol.get(CTA_PROTO.sourcePort)?.readUInt16BE() ?? 0,
    destinationPort: protocol.get(CTA_PROTO.destinationPort)?.readUInt16BE() ?? 0,
  };
}
