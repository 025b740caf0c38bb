/** bzip2 and xz, undone by the programs of those names. */
import { closeSync } from "node:fs";
import { Socket } from "node:net";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { BerthError, hasCode, invalidArgument, notImplemented } from "../../../base/index.ts";
import { makePipe, pipeReader, reap, spawn } from "../../../host/index.ts";

/** Undoes bzip2 or xz by a program of the host, as dockerd does. */
export type ExternalDecompressor = (
  compression: "bzip2" | "xz",
  source: AsyncIterable<Buffer>,
) => AsyncIterable<Buffer>;

/** Throws notImplemented when the program is not installed, invalidArgument for a damaged archive. */
export const externalDecompressor: ExternalDecompressor = async function* (compression, source) {
  const [input, output] = [makePipe(), makePipe()];
  let pid: number;
  try {
    pid = spawn({
      argv: [compression, "-dc"],
      fds: new Map([
        [0, input.readFd],
        [1, output.writeFd],
      ]),
    });
  } catch (error) {
    for (const fd of [input.writeFd, output.readFd]) closeSync(fd);
    if (!hasCode(error, "notFound")) throw error;
    throw notImplemented(`${compression} archives cannot be read here: there is no program ${compression}`, {
      cause: error,
      hint: `Install ${compression === "xz" ? "xz-utils" : "bzip2"}, or use gzip or zstd.`,
    });
  } finally {
    for (const fd of [input.readFd, output.writeFd]) closeSync(fd);
  }
  const writer = new Socket({ fd: input.writeFd, readable: false, writable: true });
  const reader = pipeReader(output.readFd);
  let failure: unknown;
  const feeding = pipeline(Readable.from(source), writer).catch((error: unknown) => (failure = error));
  try {
    for await (const chunk of reader) yield chunk as Buffer;
    await feeding;
  } finally {
    // With its pipes closed the program ends by itself.
    writer.destroy();
    reader.destroy();
    const code = await reap(pid);
    if (failure instanceof BerthError) failure = undefined;
    else failure = code === 0 ? undefined : invalidArgument(`the ${compression} archive is damaged`);
  }
  if (failure !== undefined) throw failure;
};
