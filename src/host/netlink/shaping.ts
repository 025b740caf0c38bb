import * as nl from "./message.ts";

// Numbers of linux/pkt_sched.h.
const TC_HEADER_BYTES = 20;
const TC_ROOT = 0xffff_ffff;
const TCA = { kind: 1, options: 2 };
const TBF = { parameters: 1, rate64: 4, burst: 6 };
const LINKLAYER_ETHERNET = 1;
const PARAMETER_BYTES = 36;
/** One packet of the largest size that offloading makes must fit, else each is cut up. */
const MIN_BURST_BYTES = 128 * 1024;
/** How long a packet may wait before it is dropped. */
const QUEUE_S = 0.05;
const MAX_32 = 0xffff_ffff;

/** A token bucket (tc-tbf(8)) as the link's root queue. Pure, for tests. */
export function encodeTokenBucket(link: number, bytesPerSecond: number): Buffer {
  const burst = Math.min(Math.max(MIN_BURST_BYTES, Math.round(bytesPerSecond / 100)), MAX_32 / 2);
  const limit = Math.min(burst + Math.round(bytesPerSecond * QUEUE_S), MAX_32);
  const header = Buffer.alloc(TC_HEADER_BYTES);
  header.writeInt32LE(link, 4);
  header.writeUInt32LE(TC_ROOT, 12);
  const parameters = Buffer.alloc(PARAMETER_BYTES);
  parameters.writeUInt8(LINKLAYER_ETHERNET, 1);
  parameters.writeUInt32LE(Math.min(Math.round(bytesPerSecond), MAX_32), 8);
  parameters.writeUInt32LE(limit, 24);
  const rate64 = Buffer.alloc(8);
  rate64.writeBigUInt64LE(BigInt(Math.round(bytesPerSecond)));
  return nl.join([
    header,
    nl.attribute(TCA.kind, nl.text("tbf")),
    nl.nested(TCA.options, [
      nl.attribute(TBF.parameters, parameters),
      bytesPerSecond > MAX_32 && nl.attribute(TBF.rate64, rate64),
      nl.attribute(TBF.burst, nl.u32(burst)),
    ]),
  ]);
}
