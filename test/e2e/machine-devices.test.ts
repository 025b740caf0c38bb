/** What machines may be made from and with: firmware, formats, shared folders, growing memory, a screen, networks with names. Guests of a few hundred bytes, or busybox. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import path from "node:path";
import { after, before, test } from "node:test";
import { bootIso, bootSector, efiDisk } from "../support/boot-media.ts";
import { run, startBerth, type TestBerth } from "../support/daemon.ts";
import { machinesOf, until } from "../support/machines.ts";

let berth: TestBerth;
let vms: ReturnType<typeof machinesOf>;

before(async () => {
  berth = await startBerth();
  vms = machinesOf(berth);
  const made = await berth.berth("image", "bootstrap", "busybox");
  assert.equal(made.code, 0, made.stderr);
});
after(() => berth.stop());

const file = (name: string) => path.join(berth.directory, name);

/** What DHCP tells who asks behind a machine's link, with its hardware address. */
async function leaseOf(pid: number, macAddress: string): Promise<string> {
  writeFileSync(file("lease.sh"), '#!/bin/sh\n[ "$1" != bound ] || echo "$ip"\n', { mode: 0o755 });
  const script = [
    "ip link add probe type veth peer name behind",
    "ip link set behind master br0 up",
    `ip link set probe address ${macAddress} up`,
    `busybox udhcpc -B -i probe -n -q -f -t 30 -T 1 -s ${file("lease.sh")} 2>/dev/null`,
    "ip link del probe",
  ].join("\n");
  return (await run("nsenter", [`--net=/proc/${pid}/ns/net`, "sh", "-ec", script])).stdout.trim();
}

test("UEFI starts a program from a disk, BIOS one from an ISO", async () => {
  writeFileSync(file("efi.img"), efiDisk("hello from UEFI"));
  const iso = await bootIso(berth.directory, "hello from a CD-ROM");
  await vms.done("run", file("efi.img"), "--name", "efi", "--firmware", "uefi", "--memory", "128m");
  await vms.done("run", iso, "--name", "iso", "--disk", "16m", "--memory", "64m");
  await vms.says("iso", "hello from a CD-ROM");
  await vms.says("efi", "hello from UEFI");
  // Each of the two has a server of its own, which does not hear the other's machine.
  for (const name of ["iso", "efi"]) {
    const { pid, addresses } = await vms.inspect(name);
    assert.equal(await leaseOf(pid!, addresses[0]!.macAddress), addresses[0]!.ipv4Address);
  }
  await vms.done("rm", "--force", "iso");
  const backup = await vms.done("backup", "create", "efi");
  await vms.done("rm", "--force", "efi");
  await vms.done("backup", "restore", backup);
  await vms.done("start", "efi");
  await vms.says("efi", "hello from UEFI");
  await vms.done("rm", "--force", "efi");
});

test("VMDK and VDI, an URL with its checksum, and exported disks boot alike", async () => {
  const { done, refused } = vms;
  writeFileSync(file("boot.img"), bootSector("hello from a disk"));
  for (const format of ["vmdk", "vdi"]) {
    const made = await run("qemu-img", ["convert", "-f", "raw", "-O", format, file("boot.img"), file(`d.${format}`)]);
    assert.equal(made.code, 0, made.stderr);
    await done("create", file(`d.${format}`), "--name", format, "--memory", "64m");
  }
  const server = http.createServer((_request, response) => response.end(readFileSync(file("boot.img"))));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    const url = `http://127.0.0.1:${(server.address() as net.AddressInfo).port}/boot.img`;
    const sha256 = createHash("sha256")
      .update(readFileSync(file("boot.img")))
      .digest("hex");
    await refused(/needs its checksum/, "create", url, "--name", "url");
    await refused(/has the checksum/, "create", url, "--name", "url", "--sha256", "0".repeat(64));
    await done("create", url, "--name", "url", "--sha256", sha256, "--memory", "64m");
  } finally {
    server.close();
  }
  for (const target of ["out.qcow2", "out.ova"]) await done("export", "vdi", file(target));
  await done("create", file("out.qcow2"), "--name", "qcow2", "--memory", "64m");
  await done("create", file("out.ova"), "--name", "ova");
  assert.equal((await vms.inspect("ova")).spec.memoryBytes, 64 * 1024 * 1024);
  const all = ["vmdk", "vdi", "url", "qcow2", "ova"];
  await done("start", ...all);
  for (const name of all) await vms.says(name, "hello from a disk");
  await done("rm", "--force", ...all);
});

/** A VNC server's version, and the ways of authentication that it offers: https://www.rfc-editor.org/rfc/rfc6143#section-7.1 */
function handshake(socketPath: string): Promise<{ version: string; security: number[] }> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(socketPath);
    let version = "";
    socket.on("data", (chunk: Buffer) => {
      if (version === "") {
        version = chunk.toString("latin1");
        socket.write(version);
        return;
      }
      socket.destroy();
      resolve({ version, security: [...chunk.subarray(1)] });
    });
    socket.once("error", reject);
  });
}

test("a shared folder, memory that grows, a screen", async () => {
  const { done } = vms;
  mkdirSync(file("shared"));
  writeFileSync(file("shared/in.txt"), "from the host\n");
  const share = ["--share", `${file("shared")}:work`];
  const size = ["--memory", "128m", "--max-memory", "256m"];
  const screen = ["--vnc", "--vnc-password", "secret"];
  await done("run", "oci:busybox", "--name", "dev", ...share, ...size, ...screen, "--wait", "--", "sleep", "100000");
  const sh = (script: string) => done("exec", "dev", "--", "sh", "-c", script);
  assert.equal(await sh("mkdir /work && mount -t virtiofs work /work && cat /work/in.txt"), "from the host");
  await sh("echo from the guest >/work/out.txt");
  assert.equal(readFileSync(file("shared/out.txt"), "utf8"), "from the guest\n");

  const memory = async () => Number(/^MemTotal: +(\d+)/m.exec(await sh("cat /proc/meminfo"))![1]);
  const before = await memory();
  await done("resize", "dev", "--memory", "256m");
  await until("more memory in the guest", async () => (await memory()) > before + 100_000);

  const view = await vms.inspect("dev");
  const PASSWORD_WANTED = 2;
  assert.deepEqual(await handshake(view.vncSocket!), { version: "RFB 003.008\n", security: [PASSWORD_WANTED] });
  assert.ok(!JSON.stringify(view).includes("secret"));
  await vms.refused(/with shared folders cannot be saved/, "save", "dev");
  await done("rm", "--force", "dev");
});

test("a saved machine goes on where it was; one with --autostart starts with the daemon; names lead both ways between machines and containers", async () => {
  const { done, inspect } = vms;
  await berth.docker("network", "create", "lab");
  const web = (text: string) => ["sh", "-c", `echo ${text} >/tmp/index.html; httpd -f -p 80 -h /tmp`];
  await berth.docker("run", "-d", "--name", "box", "--network", "lab", "busybox", ...web("box"));
  const flags = ["--network", "lab", "--memory", "128m", "--autostart", "--wait"];
  await done("run", "oci:busybox", "--name", "mach", ...flags, "--", ...web("mach"));
  assert.equal(await done("exec", "mach", "--", "wget", "-qO-", "http://box/"), "box");
  const ask = () => berth.dockerWith({ timeoutMs: 10_000 }, "exec", "box", "wget", "-qO-", "http://mach/");
  await until("the machine by its name", async () => (await ask()).stdout === "mach\n");

  await done("exec", "mach", "--", "sh", "-c", "echo remembered >/dev/shm/word");
  await done("save", "mach");
  assert.equal((await inspect("mach")).state, "saved");
  await done("start", "mach", "--wait");
  assert.equal(await done("exec", "mach", "--", "cat", "/dev/shm/word"), "remembered");
  await until("the machine by its name again", async () => (await ask()).stdout === "mach\n");

  await done("stop", "mach");
  await berth.down();
  await berth.start();
  await until("the machine to run again", async () => (await inspect("mach")).state === "running");
  await done("rm", "--force", "mach");
});
