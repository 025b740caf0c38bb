import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { internal } from "../../base/index.ts";
import { run } from "../../host/index.ts";

const PROGRAM = "/usr/bin/genisoimage";

/** Writes files as an ISO with Joliet and Rock Ridge names, as NoCloud wants it (label `cidata`). The file appears whole or not at all. */
export async function writeIso(file: string, label: string, files: ReadonlyMap<string, string>): Promise<void> {
  const folder = await mkdtemp(path.join(path.dirname(file), ".iso-"));
  try {
    for (const [name, text] of files) await writeFile(path.join(folder, name), text, { mode: 0o600 });
    const { code, stderr } = await run([
      PROGRAM,
      "-quiet",
      "-output",
      `${file}.new`,
      "-volid",
      label,
      "-joliet",
      "-rock",
      folder,
    ]);
    if (code !== 0) throw internal(`genisoimage failed: ${stderr.trim().split("\n").at(-1)}`);
    await rename(`${file}.new`, file);
  } finally {
    await rm(folder, { recursive: true, force: true });
    await rm(`${file}.new`, { force: true });
  }
}
