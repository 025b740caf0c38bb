import type { Readable, Writable } from "node:stream";

const HEADER_BYTES = 8;

/** Splits Docker's framed stream (type, three zero bytes, length, payload) into the two outputs, to its end. */
export async function demultiplex(source: Readable, stdout: Writable, stderr: Writable): Promise<void> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of source.iterator({ destroyOnReturn: false })) {
    rest = rest.length === 0 ? (chunk as Buffer) : Buffer.concat([rest, chunk as Buffer]);
    while (rest.length >= HEADER_BYTES) {
      const end = HEADER_BYTES + rest.readUInt32BE(4);
      if (rest.length < end) break;
      (rest[0] === 2 ? stderr : stdout).write(rest.subarray(HEADER_BYTES, end));
      rest = rest.subarray(end);
    }
  }
}

/** Keys go through one by one while `talk` lasts, and the far terminal follows this one's size. */
export async function withRawTerminal(
  talk: () => Promise<void>,
  resize: (height: number, width: number) => Promise<unknown>,
): Promise<void> {
  const { stdin, stdout } = process;
  const tell = () => void resize(stdout.rows ?? 24, stdout.columns ?? 80).catch(() => {});
  if (stdin.isTTY) stdin.setRawMode(true);
  stdout.on("resize", tell);
  tell();
  try {
    await talk();
  } finally {
    stdout.off("resize", tell);
    if (stdin.isTTY) stdin.setRawMode(false);
  }
}
