import { open } from "node:fs/promises";
import { unavailable } from "../../../base/index.ts";

/**
 * A file that one thread writes while another reads it: a blob that is unpacked while it arrives, or sent while it is packed. `progress`
 * holds two 64-bit integers: the bytes that are there, and a state.
 */
export interface Growing {
  /** Where the bytes arrive. An open file stays readable when the whole of it is moved to its place. */
  readonly file: string;
  readonly progress: SharedArrayBuffer;
}

const STATE = { running: 0n, done: 1n, failed: 2n } as const;
const READ_BYTES = 1 << 18;
/** Asked again after this even when nobody woke us. */
const LOOK_MS = 1000;

/** The writer's end. */
export class GrowingFile {
  readonly growing: Growing;
  readonly #cells: BigInt64Array;

  constructor(file: string, progress = new SharedArrayBuffer(16)) {
    this.growing = { file, progress };
    this.#cells = new BigInt64Array(progress);
  }

  /** `bytes` are in the file. */
  reached(bytes: number): void {
    this.#tell(bytes, STATE.running);
  }
  /** There will be no more. */
  done(bytes: number): void {
    this.#tell(bytes, STATE.done);
  }
  failed(): void {
    this.#tell(Number(Atomics.load(this.#cells, 0)), STATE.failed);
  }

  #tell(bytes: number, state: bigint): void {
    Atomics.store(this.#cells, 1, state);
    Atomics.store(this.#cells, 0, BigInt(bytes));
    Atomics.notify(this.#cells, 0);
  }
}

/** All of the file, as far and as soon as it is there; `unavailable` when the writer failed. `whole` is where it is when it has moved. */
export async function* readGrowing(growing: Growing, whole?: string): AsyncGenerator<Buffer> {
  const cells = new BigInt64Array(growing.progress);
  const handle = await open(growing.file, "r").catch((error: unknown) => {
    if (whole === undefined) throw error;
    return open(whole, "r");
  });
  try {
    for (let at = 0; await isPast(cells, at);) {
      const buffer = Buffer.allocUnsafeSlow(READ_BYTES);
      const { bytesRead } = await handle.read(buffer, 0, buffer.byteLength, at);
      if (bytesRead === 0) return;
      at += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await handle.close();
  }
}

/** Waits until the writer is past `at`. False when it is done and there is no more. */
async function isPast(cells: BigInt64Array, at: number): Promise<boolean> {
  for (;;) {
    const there = Atomics.load(cells, 0);
    const state = Atomics.load(cells, 1);
    if (state === STATE.failed) throw unavailable("the transfer failed");
    if (there > BigInt(at)) return true;
    if (state === STATE.done) return false;
    const wait = Atomics.waitAsync(cells, 0, there, LOOK_MS);
    if (wait.async) await wait.value;
  }
}
