/** Users and groups by name or number, looked up in a root filesystem's own /etc/passwd and /etc/group. */
import { invalidArgument, MAX_SMALL_FILE_BYTES } from "../../../base/index.ts";
import type { Ownership } from "../context/select.ts";
import { readTreeText } from "../context/tree.ts";

/** `user`, `user:group`, `uid`, `uid:gid`; without a group the number of the user, as `--chown` has it. Throws invalidArgument. */
export function resolveOwner(root: string, text: string): Ownership {
  const [user = "", group, ...more] = text.split(":");
  if (more.length > 0 || user === "")
    throw invalidArgument(`invalid user: ${JSON.stringify(text)}. It is written USER or USER:GROUP`);
  const uid = lookup(root, "etc/passwd", user, "user");
  return { uid, gid: group === undefined || group === "" ? uid : lookup(root, "etc/group", group, "group") };
}

const MAX_ID = 2 ** 32 - 2;

function lookup(root: string, file: string, name: string, what: "user" | "group"): number {
  if (/^\d{1,10}$/.test(name)) {
    if (Number(name) > MAX_ID) throw invalidArgument(`${what} number ${name} is too large`);
    return Number(name);
  }
  const lines = (readTreeText({ root }, file, MAX_SMALL_FILE_BYTES) ?? "").split("\n").map((line) => line.split(":"));
  const found = lines.find((fields) => fields[0] === name)?.[2];
  if (found !== undefined && /^\d+$/.test(found)) return Number(found);
  throw invalidArgument(`unable to convert ${what} ${name} to a number: no such ${what} in the image's /${file}`, {
    hint: `Create it in a RUN step before, or give its number.`,
  });
}
