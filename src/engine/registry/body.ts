import type { Readable } from "node:stream";
import { invalidArgument, MAX_SMALL_FILE_BYTES, unavailable } from "../../base/index.ts";

/** The whole body; more than `maxBytes` is `invalidArgument`, since no honest manifest or token is that large. */
export async function readBody(body: Readable, maxBytes = MAX_SMALL_FILE_BYTES): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += (chunk as Buffer).byteLength;
    if (size > maxBytes) {
      body.destroy();
      throw invalidArgument(`an answer is larger than ${maxBytes} bytes`);
    }
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks);
}

export async function readJsonBody<T>(body: Readable): Promise<T> {
  const text = (await readBody(body)).toString("utf8");
  try {
    return JSON.parse(text) as T;
  } catch (error) {
    throw unavailable("an answer that should be JSON is not", { cause: error });
  }
}
