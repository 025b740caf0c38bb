import { failedPrecondition } from "../../base/index.ts";
import { run } from "../../host/index.ts";

/** The bitmap in each disk that counts what changed since the last backup. https://www.qemu.org/docs/master/interop/bitmaps.html */
export const BACKUP_BITMAP = "berth-backup";

interface RawInfo {
  readonly "format-specific"?: {
    readonly data?: { readonly bitmaps?: ReadonlyArray<{ readonly name: string; readonly flags: readonly string[] }> };
  };
}

/** Of a disk that nobody has open: `good`, `torn` (its writer was killed: it counts nothing any more), or undefined. */
export async function bitmapOf(file: string): Promise<"good" | "torn" | undefined> {
  const { stdout } = await run(["/usr/bin/qemu-img", "info", "--output=json", file]);
  const info = JSON.parse(stdout || "{}") as RawInfo;
  const found = info["format-specific"]?.data?.bitmaps?.find(({ name }) => name === BACKUP_BITMAP);
  if (!found) return undefined;
  return found.flags.includes("in-use") ? "torn" : "good";
}

/** Disks with a bitmap do not go back to a memory image, and no bitmap knows what going back changed. */
export async function removeBitmap(file: string): Promise<void> {
  if ((await bitmapOf(file)) === undefined) return;
  const { code, stderr } = await run(["/usr/bin/qemu-img", "bitmap", "--remove", file, BACKUP_BITMAP]);
  if (code !== 0) throw failedPrecondition(`the disk refused: ${stderr.trim()}`);
}
