import { appendFileSync, readFileSync } from "node:fs";
import { failedPrecondition, invalidArgument } from "../../../base/index.ts";
import type { IdMapping } from "../../../host/index.ts";

/** Which users of the host the users of a container are: the daemon's `userns-remap`. */
export interface IdMappings {
  readonly uids: readonly IdMapping[];
  readonly gids: readonly IdMapping[];
}

/** The host's user and group that a container's root is. */
export function mappedRoot({ uids, gids }: IdMappings): { uid: number; gid: number } {
  const root = (mappings: readonly IdMapping[]) => mappings.find((map) => map.containerId === 0)!.hostId;
  return { uid: root(uids), gid: root(gids) };
}

/** The files that subuid(5) and passwd(5) describe, as texts. */
export interface IdFiles {
  readonly passwd: string;
  readonly group: string;
  readonly subuid: string;
  readonly subgid: string;
}

/** dockerd's own user for `default`. */
const DEFAULT_USER = "dockremap";
const RANGE_SIZE = 65_536;
const FIRST_SUBORDINATE_ID = 100_000;

/**
 * `default`, `user`, `user:group`, by name or number, as dockerd takes it: the ranges that /etc/subuid and /etc/subgid give to that user, the first
 * of them for the container's ids from 0 on. Throws invalidArgument (format) and failedPrecondition (no such user, no ranges). Pure.
 */
export function idMappings(remap: string, files: IdFiles): IdMappings {
  const [user = "", group = user, ...rest] = (remap === "default" ? DEFAULT_USER : remap).split(":");
  if (user === "" || group === "" || rest.length > 0)
    throw invalidArgument(`invalid user namespace remap "${remap}"`, { hint: "default, user or user:group" });
  return {
    uids: ranges(user, files.passwd, files.subuid, "subuid", "user"),
    gids: ranges(group, files.group, files.subgid, "subgid", "group"),
  };
}

function ranges(who: string, table: string, subordinate: string, file: string, what: string): IdMapping[] {
  const row = lines(table).find(([name, , id]) => name === who || id === who);
  if (!row && who !== DEFAULT_USER)
    throw failedPrecondition(`userns-remap: there is no ${what} "${who}" on this machine`);
  const names = new Set([who, row?.[0], row?.[2]]);
  const given = lines(subordinate)
    .filter(([name]) => names.has(name))
    .map(([, first, size]) => ({ hostId: Number(first), size: Number(size) }))
    .filter(({ hostId, size }) => hostId > 0 && size > 0)
    .sort((one, other) => one.hostId - other.hostId);
  if (given.length === 0) {
    throw failedPrecondition(`userns-remap: no ${file} ranges found for ${what} "${who}"`, {
      hint: `add a line to /etc/${file}, as in "${who}:${FIRST_SUBORDINATE_ID}:${RANGE_SIZE}"`,
    });
  }
  let containerId = 0;
  return given.map(({ hostId, size }) => {
    const mapping = { containerId, hostId, size };
    containerId += size;
    return mapping;
  });
}

function lines(text: string): string[][] {
  return text
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => line.trim().split(":"));
}

/** The next range of 65536 that nobody has. Pure. */
export function freeRange(subordinate: string): number {
  const ends = lines(subordinate).map(([, first, size]) => Number(first) + Number(size));
  return Math.max(FIRST_SUBORDINATE_ID, ...ends.filter(Number.isFinite));
}

/** The machine's mappings for `remap`. For `default` the ranges are made where they are missing, as dockerd does. */
export function readIdMappings(remap: string): IdMappings {
  const read = (file: string) => {
    try {
      return readFileSync(file, "utf8");
    } catch {
      return "";
    }
  };
  if (remap === "default") {
    for (const file of ["/etc/subuid", "/etc/subgid"]) {
      const text = read(file);
      if (!lines(text).some(([name]) => name === DEFAULT_USER))
        appendFileSync(
          file,
          `${text === "" || text.endsWith("\n") ? "" : "\n"}${DEFAULT_USER}:${freeRange(text)}:${RANGE_SIZE}\n`,
        );
    }
  }
  const [passwd, group, subuid, subgid] = ["passwd", "group", "subuid", "subgid"].map((name) => read(`/etc/${name}`));
  return idMappings(remap, { passwd: passwd!, group: group!, subuid: subuid!, subgid: subgid! });
}
