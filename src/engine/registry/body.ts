import { invalidArgument, MAX_SMALL_FILE_BYTES, unavailable } from "../../base/index.ts";
import type { HttpBody } from "./transport.ts";

/** The whole body; more than `maxBytes` is `invalidArgument`, since no honest manifest or token is that large. */
export async function readBody(body: HttpBody, maxBytes = MAX_SMALL_FILE_BYTES): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.byteLength;
    if (size > maxBytes) {
      body.destroy();
      throw invalidArgument(`an answer is larger than ${maxBytes} bytes`);
    }
    // Copied, since its memory may be used for the next one.
    chunks.push(Buffer.from(chunk));
  }
  return Buffer.concat(chunks);
}

export async function readJsonBody<T>(body: HttpBody): Promise<T> {
  const text = (await readBody(body)).toString("utf8");
  try {
    return JSON.parse(text) as T;
  } catch (error) {
    throw unavailable("an answer that should be JSON is not", { cause: error });
  }
}
