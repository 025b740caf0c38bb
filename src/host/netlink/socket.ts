import { close } from "node:fs";
import { deadlineExceeded } from "../../base/index.ts";
import { bind, bindChecked, errno, errnoError, errnoName } from "../ffi/index.ts";
import * as nl from "./message.ts";

const AF_NETLINK = 16;
const SOCK_RAW_CLOEXEC = 3 | 0o2000000;
const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
const SO_RCVTIMEO = 20;
const SOL_NETLINK = 270;
const NETLINK_EXT_ACK = 11;
/** The kernel answers within the call; a silent one would otherwise hold the thread for ever. */
const RECEIVE_TIMEOUT_S = 5;
const RECEIVE_BYTES = 256 * 1024;
const BUFFER_BYTES = 4 * 1024 * 1024;
/** Attribute of an extended acknowledgement: the kernel's own words. */
const NLMSGERR_ATTR_MSG = 1;
const NLM_F_CAPPED = 0x100;
const NLM_F_ACK_TLVS = 0x200;

const socket = bindChecked("int socket(int domain, int type, int protocol)");
const setsockopt = bindChecked("int setsockopt(int fd, int level, int name, const void *value, unsigned int length)");
const send = bindChecked("long send(int fd, const void *data, size_t length, int flags)");
const recv = bind("long recv(int fd, void *data, size_t length, int flags)");

export const NETLINK_ROUTE = 0;
export const NETLINK_NETFILTER = 12;

let receiveBuffer: Buffer | undefined;

/**
 * A netlink socket in the network namespace in which it was opened. Requests are synchronous: the kernel works within send(2), and the answer is
 * there when it returns.
 */
export class NetlinkSocket implements Disposable {
  readonly #fd: number;
  #sequence = 0;

  constructor(protocol: number) {
    this.#fd = socket(AF_NETLINK, SOCK_RAW_CLOEXEC, protocol);
    const timeout = Buffer.alloc(16);
    timeout.writeBigInt64LE(BigInt(RECEIVE_TIMEOUT_S), 0);
    setsockopt(this.#fd, SOL_SOCKET, SO_RCVTIMEO, timeout, 16);
    setsockopt(this.#fd, SOL_SOCKET, SO_SNDBUF, nl.u32(BUFFER_BYTES), 4);
    setsockopt(this.#fd, SOL_SOCKET, SO_RCVBUF, nl.u32(BUFFER_BYTES), 4);
    setsockopt(this.#fd, SOL_NETLINK, NETLINK_EXT_ACK, nl.u32(1), 4);
  }

  /** Not on this thread: closing a socket of netfilter's waits for the kernel (see `nft/nfnetlink.ts`). */
  [Symbol.dispose](): void {
    close(this.#fd, () => {});
  }

  /** Sends one request and waits for its acknowledgement. Returns the answers before it. */
  request(what: string, type: number, flags: number, body: Buffer): nl.Message[] {
    const sequence = ++this.#sequence;
    const message = nl.encodeMessage(type, flags | nl.NLM_F_REQUEST | nl.NLM_F_ACK, sequence, body);
    send(this.#fd, message, message.length, 0);
    return this.#collect(what, sequence);
  }

  /** All objects of a kind. */
  dump(what: string, type: number, body: Buffer): nl.Message[] {
    const sequence = ++this.#sequence;
    const message = nl.encodeMessage(type, nl.NLM_F_REQUEST | nl.NLM_F_DUMP, sequence, body);
    send(this.#fd, message, message.length, 0);
    return this.#collect(what, sequence);
  }

  /**
   * Sends several messages as one datagram (an nfnetlink batch) and waits until the last one is acknowledged. Throws the first error, with its
   * `details.index` telling which message it was.
   */
  batch(what: string, messages: ReadonlyArray<{ type: number; flags: number; body: Buffer; ack: boolean }>): void {
    const first = this.#sequence + 1;
    const encoded = messages.map((message) =>
      nl.encodeMessage(
        message.type,
        message.flags | nl.NLM_F_REQUEST | (message.ack ? nl.NLM_F_ACK : 0),
        ++this.#sequence,
        message.body,
      ),
    );
    const datagram = Buffer.concat(encoded);
    send(this.#fd, datagram, datagram.length, 0);
    let waiting = messages.filter((message) => message.ack).length;
    let failure: Error | undefined;
    while (waiting > 0) {
      for (const answer of this.#receive(what)) {
        if (answer.type !== nl.NLMSG_ERROR || answer.sequence < first) continue;
        const error = toError(what, answer);
        failure ??= error;
        waiting--;
        // A batch that fails as a whole (its begin or end message) has no further answers.
        const message = messages[answer.sequence - first];
        if (error && message && !message.ack) waiting = 0;
      }
    }
    if (failure) {
      this.#drain();
      throw failure;
    }
  }

  #collect(what: string, sequence: number): nl.Message[] {
    const answers: nl.Message[] = [];
    for (;;) {
      for (const answer of this.#receive(what)) {
        if (answer.sequence !== sequence) continue;
        if (answer.type === nl.NLMSG_DONE) return answers;
        if (answer.type === nl.NLMSG_ERROR) {
          const error = toError(what, answer);
          if (error) throw error;
          return answers;
        }
        answers.push({ ...answer, body: Buffer.from(answer.body) });
      }
    }
  }

  #receive(what: string): nl.Message[] {
    receiveBuffer ??= Buffer.alloc(RECEIVE_BYTES);
    for (;;) {
      const length = recv(this.#fd, receiveBuffer, RECEIVE_BYTES, 0);
      if (length >= 0) return nl.decodeMessages(receiveBuffer.subarray(0, length));
      const name = errnoName(errno());
      if (name === "EINTR") continue;
      if (name === "EAGAIN") throw deadlineExceeded(`${what}: the kernel did not answer in ${RECEIVE_TIMEOUT_S} s`);
      throw errnoError(errno(), what);
    }
  }

  /** Answers that are left over after a failed batch would confuse nobody (their sequence is old) but would fill the buffer. */
  #drain(): void {
    const MSG_DONTWAIT = 0x40;
    receiveBuffer ??= Buffer.alloc(RECEIVE_BYTES);
    while (recv(this.#fd, receiveBuffer, RECEIVE_BYTES, MSG_DONTWAIT) > 0);
  }
}

function toError(what: string, answer: nl.Message): Error | undefined {
  const code = answer.body.readInt32LE(0);
  if (code === 0) return undefined;
  const words = extendedAck(answer);
  return errnoError(-code, words ? `${what} (${words})` : what);
}

/** After the error code stand the header of the request (and its body unless capped), then attributes. */
function extendedAck(answer: nl.Message): string {
  if (!(answer.flags & NLM_F_ACK_TLVS)) return "";
  const requestBytes = answer.flags & NLM_F_CAPPED ? nl.HEADER_BYTES : answer.body.readUInt32LE(4);
  return nl.readText(nl.attributes(answer.body.subarray(4 + ((requestBytes + 3) & ~3))).get(NLMSGERR_ATTR_MSG));
}
