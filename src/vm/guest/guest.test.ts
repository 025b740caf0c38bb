import assert from "node:assert/strict";
import { test } from "node:test";
import { packCpio } from "./cpio.ts";
import { dependenciesOf } from "./kernel.ts";
import { parseLdd } from "./libraries.ts";

test("a module's dependencies are read from its .modinfo", () => {
  assert.deepEqual(dependenciesOf("\0license=GPL\0depends=virtio,virtio-ring\0name=x\0"), ["virtio", "virtio_ring"]);
  assert.deepEqual(dependenciesOf("\0depends=\0name=x\0"), []);
});

test("a program's libraries and loader are read from ldd", () => {
  const text =
    "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f12)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f13)\n";
  assert.deepEqual(parseLdd(text), ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]);
});

test("an archive is a multiple of four, the same for the same entries, and ends with its trailer", () => {
  const entries = [
    { path: "dev", mode: 0o040755 },
    { path: "dev/console", mode: 0o020600, device: [5, 1] as const },
    { path: "init", mode: 0o100755, content: Buffer.from("#!/bin/sh\n") },
  ];
  const archive = packCpio(entries);
  assert.equal(archive.length % 4, 0);
  assert.deepEqual(packCpio(entries), archive);
  assert.equal(archive.subarray(0, 6).toString(), "070701");
  assert.ok(archive.includes("TRAILER!!!"));
  assert.throws(() => packCpio([{ path: "/init", mode: 0o100755 }]), { code: "internal" });
});
