import { constants } from "node:fs";
import { open } from "node:fs/promises";
import path from "node:path";
import { invalidArgument, MAX_SMALL_FILE_BYTES } from "../../../base/index.ts";
import { resolveInRoot } from "../paths.ts";

export interface ResolvedUser {
  readonly uid: number;
  readonly gid: number;
  readonly additionalGids: readonly number[];
  readonly home: string;
}

/**
 * Docker's `USER` and `--user`: `name|uid[:group|gid]`, looked up in the root's /etc/passwd and /etc/group. Throws invalidArgument, in Docker's
 * words, for a name that is not there.
 */
export async function resolveUser(root: string, user: string, groupAdd: readonly string[] = []): Promise<ResolvedUser> {
  const [passwd, group] = await Promise.all([readTable(root, "etc/passwd"), readTable(root, "etc/group")]);
  return lookUpUser(passwd, group, user, groupAdd);
}

/** The pure part: rows are the files' lines split at colons. */
export function lookUpUser(
  passwd: readonly string[][],
  group: readonly string[][],
  user: string,
  groupAdd: readonly string[] = [],
): ResolvedUser {
  const [userPart = "", groupPart] = user.split(":", 2);
  const name = userPart === "" ? "0" : userPart;
  const row = passwd.find((fields) => fields[0] === name) ?? passwd.find((fields) => fields[2] === name);
  if (!row && !isId(name)) throw invalidArgument(`unable to find user ${name}: no matching entries in passwd file`);
  const uid = row ? Number(row[2]) : Number(name);
  const gidOf = (wanted: string) => {
    const found = group.find((fields) => fields[0] === wanted);
    if (found) return Number(found[2]);
    if (isId(wanted)) return Number(wanted);
    throw invalidArgument(`unable to find group ${wanted}: no matching entries in group file`);
  };
  const memberships = row
    ? group.filter((fields) => (fields[3] ?? "").split(",").includes(row[0]!)).map((fields) => Number(fields[2]))
    : [];
  const gid = groupPart ? gidOf(groupPart) : row ? Number(row[3]) : 0;
  // An explicit group replaces those of the group file.
  const additional = new Set([...(groupPart ? [] : memberships), ...groupAdd.map(gidOf)]);
  if (groupPart === undefined && additional.size === 0 && groupAdd.length === 0) additional.add(gid);
  else if (additional.size > 0) additional.add(gid);
  return { uid, gid, additionalGids: [...additional].sort((a, b) => a - b), home: row?.[5] || "/" };
}

const isId = (text: string) => /^\d{1,10}$/.test(text) && Number(text) <= 0x7fffffff;

/** Opened without following the last component, below the root, as a regular file of bounded size. */
async function readTable(root: string, file: string): Promise<string[][]> {
  try {
    const resolved = await resolveInRoot(root, path.join("/", file));
    await using handle = await open(resolved, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    const { size } = await handle.stat();
    if (size > MAX_SMALL_FILE_BYTES) return [];
    return (await handle.readFile("utf8"))
      .split("\n")
      .filter((line) => line !== "" && !line.startsWith("#"))
      .map((line) => line.trim().split(":"));
  } catch {
    return [];
  }
}
