import type { Clock } from "../../base/index.ts";
import type { OnProgress, ProgressMessage } from "./types.ts";

/** A terminal can't show more, and each message costs a write. */
const INTERVAL_MS = 100;

/** Docker's short form of a digest in progress messages. */
export function shortId(digest: string): string {
  return digest.replace(/^sha256:/, "").slice(0, 12);
}

/** One line of a transfer (`id`): each step as it happens, and its bytes at most ten times a second. */
export class ProgressLine {
  readonly #emit: OnProgress;
  readonly #clock: Clock;
  readonly #id: string;
  #lastMs = -Infinity;

  constructor(emit: OnProgress, clock: Clock, id: string) {
    this.#emit = emit;
    this.#clock = clock;
    this.#id = id;
  }

  step(status: string): void {
    this.#emit({ status, progressDetail: {}, id: this.#id });
  }

  bytes(status: string, current: number, total: number): void {
    const now = this.#clock.monotonicMs();
    if (now - this.#lastMs < INTERVAL_MS && current < total) return;
    this.#lastMs = now;
    this.#emit(bytesMessage(status, this.#id, current, total));
  }
}

export function bytesMessage(status: string, id: string, current: number, total: number): ProgressMessage {
  return { status, progressDetail: { current, total }, progress: progressBar(current, total), id };
}

/** Docker's bar: `[=====>     ]  1.2MB/3.4MB`. */
export function progressBar(current: number, total: number): string {
  const size = (bytes: number) => humanSize(bytes).padStart(8);
  if (total <= 0) return size(current);
  const filled = Math.min(50, Math.floor((current / total) * 50));
  const bar = filled === 50 ? "=".repeat(50) + ">" : "=".repeat(filled) + ">" + " ".repeat(49 - filled);
  return `[${bar}] ${size(current)}/${humanSize(total)}`;
}

/** Decimal units, four digits, as the docker CLI writes sizes. */
export function humanSize(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let value = bytes;
  let unit = 0;
  for (; value >= 1000 && unit < units.length - 1; unit++) value /= 1000;
  return `${Number(value.toPrecision(4))}${units[unit]}`;
}
