import { pack as createPack } from "tar-stream";
import type { Readable } from "node:stream";

/** The files of the launchers' image: a static busybox, and nothing else. */
export function launcherFiles(busybox: Buffer): Readable {
  const pack = createPack();
  const mtime = new Date(0);
  pack.entry({ name: "bin/", type: "directory", mode: 0o755, mtime });
  pack.entry({ name: "bin/busybox", mode: 0o755, mtime }, busybox);
  pack.entry({ name: "bin/sleep", type: "symlink", linkname: "busybox", mtime });
  pack.finalize();
  return pack as unknown as Readable;
}
