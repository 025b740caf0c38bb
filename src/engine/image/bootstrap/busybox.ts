import { tarEnd, tarHeader, tarPadding, plainFile, type TarEntry } from "../../tar/index.ts";

const FILES: Readonly<Record<string, string>> = {
  "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
  "etc/group": "root:x:0:\nnogroup:x:65534:\n",
  "etc/shadow": "root:*:::::::\n",
  "etc/nsswitch.conf": "hosts: files dns\n",
};
const DIRECTORIES: readonly (readonly [string, number])[] = [
  ["bin/", 0o755],
  ["dev/", 0o755],
  ["etc/", 0o755],
  ["home/", 0o755],
  ["proc/", 0o755],
  ["root/", 0o700],
  ["sys/", 0o755],
  ["tmp/", 0o1777],
  ["usr/", 0o755],
  ["usr/bin/", 0o755],
  ["usr/sbin/", 0o755],
  ["var/", 0o755],
];

/** A root filesystem around one static busybox: every applet is a hard link of it, as in the image of that name on Docker Hub. */
export function busyboxTar(binary: Buffer, applets: readonly string[]): Buffer {
  const parts: Buffer[] = [];
  const add = (entry: TarEntry, content: Buffer = Buffer.alloc(0)) =>
    parts.push(tarHeader(entry), content, tarPadding(content.byteLength));
  for (const [name, mode] of DIRECTORIES) add({ ...plainFile(name, 0), type: "directory", mode });
  for (const [name, text] of Object.entries(FILES)) add(plainFile(name, Buffer.byteLength(text)), Buffer.from(text));
  add({ ...plainFile("bin/busybox", binary.byteLength), mode: 0o755 }, binary);
  for (const applet of [...applets].sort()) {
    if (applet === "busybox" || !/^[A-Za-z0-9_.[-]+$/.test(applet)) continue;
    add({ ...plainFile(`bin/${applet}`, 0), type: "hardlink", mode: 0o755, linkName: "bin/busybox" });
  }
  // Scripts ask for it there.
  add({ ...plainFile("usr/bin/env", 0), type: "hardlink", mode: 0o755, linkName: "bin/busybox" });
  return Buffer.concat([...parts, tarEnd()]);
}
