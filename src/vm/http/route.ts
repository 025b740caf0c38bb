import type { Duplex, Readable } from "node:stream";
import type { Machines } from "../machine/machines.ts";
import type { Backups, BackupSchedule } from "../backup/index.ts";

/** What the routes work on. */
export interface VmRooms {
  readonly machines: Machines;
  readonly backups: Backups;
  readonly schedule: BackupSchedule;
}

export interface Call extends VmRooms {
  /** The path's variable parts, in order. */
  readonly args: readonly string[];
  readonly query: URLSearchParams;
  readonly body: Readable;
  json<T>(): Promise<T>;
  readonly signal: AbortSignal;
}

/** What a route answers: JSON, or a stream of bytes. */
export type Answer =
  | { readonly json: unknown; readonly status?: number }
  | { readonly stream: AsyncIterable<Uint8Array> };

export interface Route {
  readonly method: string;
  /** Below `/berth/v1`; `*` stands for one segment. */
  readonly path: string;
  run(call: Call): Promise<Answer>;
}

/** A route that becomes a raw connection. */
export interface UpgradeRoute {
  readonly path: string;
  connect(call: Omit<Call, "body" | "json">, connection: Duplex): Promise<void>;
}

export const PREFIX = "/berth/v1";

export function match(pattern: string, path: string): string[] | undefined {
  const wanted = pattern.split("/");
  const given = path.split("/");
  if (wanted.length !== given.length) return undefined;
  const found: string[] = [];
  for (const [index, part] of wanted.entries()) {
    if (part === "*") found.push(decodeURIComponent(given[index]!));
    else if (part !== given[index]) return undefined;
  }
  return found;
}
