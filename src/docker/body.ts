import type { IncomingHttpHeaders } from "node:http";
import type { Readable } from "node:stream";
import { invalidArgument, MAX_JSON_BODY_BYTES, MAX_JSON_DEPTH } from "../base/index.ts";

/** Reads a body as one JSON object; undefined when it is empty. Throws invalidArgument, also when it is too large or deep. */
export async function readJsonObject(body: Readable, headers: IncomingHttpHeaders): Promise<object | undefined> {
  const text = await readText(body);
  if (text.trim() === "") return undefined;
  const contentType = headers["content-type"];
  if (contentType !== undefined && !/^application\/json\s*(;|$)/i.test(contentType)) {
    throw invalidArgument(`unsupported Content-Type header (${contentType}): must be 'application/json'`);
  }
  checkDepth(text);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw invalidArgument(`invalid JSON: ${(error as Error).message}`, { cause: error });
  }
  if (value === null) return undefined;
  if (typeof value !== "object" || Array.isArray(value)) throw invalidArgument("invalid JSON: an object is expected");
  return value;
}

async function readText(body: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_JSON_BODY_BYTES) throw invalidArgument(`request body is larger than ${MAX_JSON_BODY_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

/** Refuses nesting bombs before anything of ours walks the document recursively. */
function checkDepth(text: string): void {
  let depth = 0;
  let inText = false;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (inText) {
      if (code === 92) at++;
      else if (code === 34) inText = false;
    } else if (code === 34) inText = true;
    else if (code === 123 || code === 91) {
      if (++depth > MAX_JSON_DEPTH) throw invalidArgument(`JSON is nested deeper than ${MAX_JSON_DEPTH}`);
    } else if (code === 125 || code === 93) depth--;
  }
}
