/** Images for tests on machines that reach no registry: the machine's own static busybox. */
import { readFileSync } from "node:fs";
import { buffer } from "node:stream/consumers";
import { pack as createPack } from "tar-stream";
import type { TestBerth } from "./daemon.ts";

const APPLETS = [
  "sh",
  "ash",
  "echo",
  "true",
  "false",
  "cat",
  "sleep",
  "ls",
  "id",
  "env",
  "hostname",
  "httpd",
  "wget",
  "touch",
  "mkdir",
  "ps",
  "pwd",
  "rm",
  "grep",
  "kill",
  "stat",
  "mount",
  "df",
  "nproc",
  "printf",
  "test",
  "head",
  "seq",
  "ip",
  "chmod",
  "chown",
  "nc",
  "yes",
  "dd",
];

/** A root file system with busybox, a few users and the usual folders, as a tar. */
export async function busyboxTar(): Promise<Buffer> {
  const pack = createPack();
  for (const folder of ["bin", "etc", "root", "home", "tmp", "var"]) {
    pack.entry({ name: `${folder}/`, type: "directory", mode: folder === "tmp" ? 0o1777 : 0o755 });
  }
  pack.entry({ name: "bin/busybox", mode: 0o755 }, readFileSync("/usr/bin/busybox"));
  for (const applet of APPLETS) pack.entry({ name: `bin/${applet}`, type: "symlink", linkname: "busybox" });
  pack.entry({ name: "etc/passwd" }, "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home:/bin/sh\n");
  pack.entry({ name: "etc/group" }, "root:x:0:\napp:x:1000:\nwheel:x:10:app\n");
  pack.finalize();
  return buffer(pack);
}

/** Files by path, as a tar: a build's context, say. */
export function tarOf(files: Readonly<Record<string, string>>): Promise<Buffer> {
  const pack = createPack();
  for (const [name, text] of Object.entries(files)) pack.entry({ name }, text);
  pack.finalize();
  return buffer(pack);
}

/** Gives the instance a `busybox:latest`. */
export async function importBusybox(berth: TestBerth, name = "busybox:latest"): Promise<void> {
  const output = await berth.dockerWith({ input: await busyboxTar() }, "import", "-c", 'CMD ["sh"]', "-", name);
  if (output.code !== 0) throw new Error(`docker import: ${output.stderr}`);
}
