import type { IncomingMessage } from "node:http";
import { unavailable } from "../base/index.ts";

/** The whole body of what another server answered. Throws `unavailable` when it is larger than may be kept. */
export async function readAnswer(answer: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxBytes) throw unavailable(`the answer is larger than ${maxBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
