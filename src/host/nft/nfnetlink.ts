import { statSync } from "node:fs";
import { hasCode } from "../../base/index.ts";
import * as nl from "../netlink/message.ts";
import { NETLINK_NETFILTER, NetlinkSocket } from "../netlink/socket.ts";
import type { NftChange, NftElement, NftFamily } from "./types.ts";

// Numbers of linux/netfilter/nfnetlink.h and nf_tables.h.
const FAMILIES: Record<NftFamily, number> = { inet: 1, ip: 2, bridge: 7, ip6: 10 };
const NFNL_MSG_BATCH_BEGIN = 0x10;
const NFNL_MSG_BATCH_END = 0x11;
const NFNL_SUBSYS_NFTABLES = 10;
const MSG = { getTable: 1, deleteTable: 2, newElement: 12, deleteElement: 14 };
const NFTA_TABLE_NAME = 1;
const NFTA_LIST_TABLE = 1;
const NFTA_LIST_SET = 2;
const NFTA_LIST_ELEMENTS = 3;
const NFTA_LIST_ELEM = 1;
const NFTA_ELEM = { key: 1, data: 2, flags: 3, keyEnd: 10 };
const NFTA_DATA_VALUE = 1;
const NFTA_DATA_VERDICT = 2;
const NFTA_VERDICT_CODE = 1;
const NFTA_VERDICT_CHAIN = 2;
const ELEMENT_INTERVAL_END = 1;
const VERDICTS = { drop: 0, accept: 1, jump: -3, goto: -4, return: -5 };
/** An attribute's length has 16 bits; a list of elements must stay below it. */
const MAX_LIST_BYTES = 60_000;

type BatchMessage = { type: number; flags: number; body: Buffer; ack: boolean };

function header(family: number, resource = 0): Buffer {
  return Buffer.from([family, 0, resource >> 8, resource & 0xff]);
}

function tableMessage(type: number): number {
  return (NFNL_SUBSYS_NFTABLES << 8) | type;
}

/** The messages that change elements of a table's sets, as one transaction. Pure, for tests. */
export function encodeChanges(family: NftFamily, table: string, changes: readonly NftChange[]): BatchMessage[] {
  const messages = changes.flatMap((change) =>
    lists(change.elements).map((elements) => ({
      type: tableMessage(change.op === "add" ? MSG.newElement : MSG.deleteElement),
      flags: change.op === "add" ? nl.NLM_F_CREATE : 0,
      body: nl.join([
        header(FAMILIES[family]),
        nl.attribute(NFTA_LIST_TABLE, nl.text(table)),
        nl.attribute(NFTA_LIST_SET, nl.text(change.set)),
        nl.nested(NFTA_LIST_ELEMENTS, elements),
      ]),
      ack: true,
    })),
  );
  return transaction(messages);
}

function transaction(messages: BatchMessage[]): BatchMessage[] {
  const edge = (type: number) => ({ type, flags: 0, body: header(0, NFNL_SUBSYS_NFTABLES), ack: false });
  return [edge(NFNL_MSG_BATCH_BEGIN), ...messages, edge(NFNL_MSG_BATCH_END)];
}

function lists(elements: readonly NftElement[]): Buffer[][] {
  const result: Buffer[][] = [];
  let size = Infinity;
  for (const element of elements) {
    const encoded = encodeElement(element);
    if (size + encoded.length > MAX_LIST_BYTES) {
      result.push([]);
      size = 0;
    }
    result.at(-1)!.push(encoded);
    size += encoded.length;
  }
  return result;
}

function encodeElement(element: NftElement): Buffer {
  return nl.nested(NFTA_LIST_ELEM, [
    element.intervalEnd && nl.attribute(NFTA_ELEM.flags, nl.u32be(ELEMENT_INTERVAL_END)),
    nl.nested(NFTA_ELEM.key, [nl.attribute(NFTA_DATA_VALUE, Buffer.from(element.key))]),
    element.keyEnd && nl.nested(NFTA_ELEM.keyEnd, [nl.attribute(NFTA_DATA_VALUE, Buffer.from(element.keyEnd))]),
    element.value && nl.nested(NFTA_ELEM.data, [nl.attribute(NFTA_DATA_VALUE, Buffer.from(element.value))]),
    element.verdict &&
      nl.nested(NFTA_ELEM.data, [
        nl.nested(NFTA_DATA_VERDICT, [
          nl.attribute(NFTA_VERDICT_CODE, nl.u32be(VERDICTS[element.verdict.kind])),
          "chain" in element.verdict && nl.attribute(NFTA_VERDICT_CHAIN, nl.text(element.verdict.chain)),
        ]),
      ]),
  ]);
}

/** The namespace that the process was started in; the thread may be in another one (`NetnsHost.enter`). */
const home = namespace();
let kept: NetlinkSocket | undefined;

function namespace(): number {
  return statSync("/proc/thread-self/ns/net").ino;
}

/**
 * A socket in the namespace that the thread is in. That of the process's own is kept: closing one waits until the kernel has freed what the last change
 * replaced, 8 to 28 ms, and holds up the next change meanwhile. (Elsewhere it is not, since it would keep the namespace.)
 */
function withSocket<T>(use: (socket: NetlinkSocket) => T): T {
  if (namespace() === home) return use((kept ??= new NetlinkSocket(NETLINK_NETFILTER)));
  using socket = new NetlinkSocket(NETLINK_NETFILTER);
  return use(socket);
}

export function sendChanges(family: NftFamily, table: string, changes: readonly NftChange[]): void {
  withSocket((socket) => socket.batch(`change nftables ${family} ${table}`, encodeChanges(family, table, changes)));
}

export function listTables(family: NftFamily): string[] {
  return withSocket((socket) =>
    socket.dump("list nftables tables", tableMessage(MSG.getTable), header(FAMILIES[family])),
  ).map((message) => nl.readText(nl.attributes(message.body.subarray(4)).get(NFTA_TABLE_NAME)));
}

export function dropTable(family: NftFamily, table: string): void {
  const body = nl.join([header(FAMILIES[family]), nl.attribute(NFTA_TABLE_NAME, nl.text(table))]);
  try {
    const message = { type: tableMessage(MSG.deleteTable), flags: 0, body, ack: true };
    withSocket((socket) => socket.batch(`delete nftables table ${table}`, transaction([message])));
  } catch (error) {
    if (!hasCode(error, "notFound")) throw error;
  }
}
