/**
 * The few fields of a DNS message (RFC 1035, 4.1) that a server and a forwarder touch without decoding the rest: at 20,000 questions a second the codec is
 * only used for what is not in the cache.
 */
export const DNS_HEADER_BYTES = 12;
export const RCODE = {
  noError: 0,
  formatError: 1,
  serverFailure: 2,
  nameError: 3,
  notImplemented: 4,
  refused: 5,
} as const;
const MAX_LABELS = 128;

export interface Question {
  /** Lower case, without the last dot; empty for the root. */
  readonly name: string;
  readonly type: number;
  readonly class: number;
  /** Where the question section ends. */
  readonly end: number;
}

/** The one question of a query; undefined for anything else (answers, several questions, cut or compressed names). */
export function readQuestion(message: Buffer): Question | undefined {
  if (message.length < DNS_HEADER_BYTES + 5 || message.readUInt16BE(4) !== 1 || (message[2]! & 0xf8) !== 0)
    return undefined;
  const labels: string[] = [];
  let at = DNS_HEADER_BYTES;
  for (;;) {
    const length = message[at];
    if (length === undefined || length > 63 || labels.length > MAX_LABELS) return undefined;
    at++;
    if (length === 0) break;
    if (at + length > message.length) return undefined;
    labels.push(message.toString("latin1", at, at + length));
    at += length;
  }
  if (at + 4 > message.length) return undefined;
  const name = labels.join(".").toLowerCase();
  return { name, type: message.readUInt16BE(at), class: message.readUInt16BE(at + 2), end: at + 4 };
}

export function messageId(message: Buffer): number {
  return message.readUInt16BE(0);
}

/** A copy with another id. */
export function withId(message: Buffer, id: number): Buffer {
  const copy = Buffer.from(message);
  copy.writeUInt16BE(id, 0);
  return copy;
}

export function rcodeOf(message: Buffer): number {
  return message[3]! & 0x0f;
}

export function isTruncated(message: Buffer): boolean {
  return (message[2]! & 0x02) !== 0;
}

/** An answer without records. Works for any query with a header. */
export function emptyAnswer(query: Buffer, rcode: number): Buffer {
  const question = readQuestion(query);
  const answer = Buffer.from(query.subarray(0, question?.end ?? DNS_HEADER_BYTES));
  answer[2] = 0x80 | (query[2]! & 0x79);
  answer[3] = 0x80 | rcode;
  answer.writeUInt16BE(question ? 1 : 0, 4);
  answer.fill(0, 6, DNS_HEADER_BYTES);
  return answer;
}

/** The largest answer that the asker takes over UDP: 512, or what its OPT record says (RFC 6891). */
export function udpLimit(query: Buffer): number {
  const question = readQuestion(query);
  if (!question || query.readUInt16BE(10) === 0) return 512;
  // An OPT record with the root as its name is nearly always the only additional record.
  const at = question.end;
  if (query[at] !== 0 || at + 5 > query.length || query.readUInt16BE(at + 1) !== 41) return 512;
  return Math.max(512, Math.min(query.readUInt16BE(at + 3), 4096));
}

/** Cuts an answer that is too long for UDP down to its question, with the truncated bit set, so that the asker comes back over TCP. */
export function truncate(answer: Buffer, limit: number): Buffer {
  if (answer.length <= limit) return answer;
  const question = questionEnd(answer);
  const cut = Buffer.from(answer.subarray(0, question));
  cut[2] = cut[2]! | 0x02;
  cut.fill(0, 6, DNS_HEADER_BYTES);
  return cut;
}

function questionEnd(message: Buffer): number {
  let at = DNS_HEADER_BYTES;
  if (message.readUInt16BE(4) !== 1) return at;
  while (at < message.length && message[at] !== 0) at += message[at]! + 1;
  return Math.min(at + 5, message.length);
}
