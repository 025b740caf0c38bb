/**
 * Throughput through virtio: `node bench/vm-throughput.ts [rounds]` (root). A machine of `berth vm` and a microVM beside the same QEMU by hand: the same kernel,
 * the same sizes, a qcow2 disk on virtio-blk, a tap on virtio-net, a folder on virtiofs. In seconds for as many bytes, so less is better.
 */
import { spawn, type ChildProcess } from "node:child_process";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { busybox, folders, keepInitramfs, kernelModules } from "../src/vm/guest/archive.ts";
import { CACHE, openKernel } from "../src/vm/guest/index.ts";
import { KERNEL_COMMAND_LINE } from "../src/vm/hypervisor/argv.ts";
import { networkOfHost, createTap } from "../src/host/index.ts";
import { startBerth } from "../test/support/daemon.ts";
import { machinesOf, until } from "../test/support/machines.ts";
import { median, report, rowOf, sleep } from "./lib.ts";

const rounds = Number(process.argv[2] ?? 3);
const MEBIBYTES = 64;
const SENT_MEBIBYTES = 16;
const MEMORY = "352";
/** Nine tenths of what is reached by hand. */
const LIMIT = 1 / 0.9;
const HAND_TAP = "berthhand0";
const [HAND_HOST, HAND_GUEST] = ["198.51.100.1", "198.51.100.2"];
/** berth's machines share the processors as one of the host's control groups does; so must the one by hand, or a busy host gives it more. */
const HAND_GROUP = path.join(
  fs.existsSync("/sys/fs/cgroup/cpu") ? "/sys/fs/cgroup/cpu" : "/sys/fs/cgroup",
  "berth-by-hand",
);
const QEMU = "/usr/bin/qemu-system-x86_64";
const VIRTIOFSD = "/usr/lib/qemu/virtiofsd";

/** A command that says by the guest's own clock how long it took. */
const timed = (command: string) =>
  `read a b </proc/uptime; ${command} 2>/dev/null; read c b </proc/uptime; echo "from $a to $c"`;
const write = (to: string) => timed(`dd if=/dev/zero of=${to} bs=1M count=${MEBIBYTES} conv=fsync`);
const read = (from: string) => timed(`dd if=${from} of=/dev/null bs=1M count=${MEBIBYTES} iflag=direct`);
const send = (host: string, port: number) =>
  `dd if=/dev/zero bs=64k count=${SENT_MEBIBYTES * 16} 2>/dev/null | nc ${host} ${port}`;

function secondsOf(text: string): number {
  const match = /from ([\d.]+) to ([\d.]+)/.exec(text);
  if (!match) throw new Error(`the guest did not say how long it took: ${text}`);
  return Number(match[2]) - Number(match[1]);
}

/** Takes what a guest sends; the seconds between its first and last byte. */
async function receiver() {
  let tookS: ((seconds: number) => void) | undefined;
  const server = net.createServer((socket) => {
    let firstMs: number | undefined;
    socket.on("data", () => (firstMs ??= performance.now()));
    socket.on("end", () => {
      socket.end();
      tookS?.((performance.now() - (firstMs ?? 0)) / 1000);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "0.0.0.0", resolve));
  return {
    port: (server.address() as net.AddressInfo).port,
    next: () => new Promise<number>((resolve) => (tookS = resolve)),
    close: () => server.close(),
  };
}

/** One boot by hand that measures everything: QEMU with the devices, and a script as its first process. */
async function byHand(folder: string, port: number, received: Promise<number>): Promise<Record<string, number>> {
  const kernel = await openKernel(CACHE);
  const commands = {
    "disk write": write("/dev/vda"),
    "disk read": read("/dev/vda"),
    "files write": write("/share/file"),
  };
  const script = [
    "#!/bin/busybox sh",
    "export PATH=/bin",
    "mount -t devtmpfs devtmpfs /dev; mount -t proc proc /proc",
    "while read -r module; do insmod /modules/$module; done </modules/order",
    `ip addr add ${HAND_GUEST}/30 dev eth0; ip link set eth0 up`,
    "mount -t virtiofs hand /share",
    ...Object.entries(commands).map(([name, command]) => `echo "== ${name} $(${command})"`),
    send(HAND_HOST, port),
    "poweroff -f",
  ].join("\n");
  const initramfs = await keepInitramfs(folder, "hand", kernel, [
    ...folders(["bin", "dev", "proc", "share", "modules"]),
    { path: "init", mode: 0o100755, content: Buffer.from(`${script}\n`) },
    ...(await busybox(["sh", "mount", "insmod", "ip", "dd", "nc", "poweroff"])),
    ...(await kernelModules(kernel, ["virtio_pci", "virtio_blk", "virtio_net", "virtiofs"])),
  ]);
  const disk = path.join(folder, "hand.qcow2");
  await ended(spawn("/usr/bin/qemu-img", ["create", "-q", "-f", "qcow2", disk, "256M"], { stdio: "inherit" }));
  const shared = path.join(folder, "hand");
  fs.mkdirSync(shared, { recursive: true });
  const socket = path.join(folder, "hand.sock");
  const server = spawn(VIRTIOFSD, [`--socket-path=${socket}`, "-o", `source=${shared},cache=auto`], {
    stdio: "ignore",
  });
  while (!fs.existsSync(socket)) await sleep(20);
  const argv = [
    ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-m", MEMORY],
    ["-M", "q35,memory-backend=memory", "-object", `memory-backend-memfd,id=memory,size=${MEMORY}M,share=on`],
    ["-accel", "tcg,thread=multi,tb-size=64", "-cpu", "max", "-serial", "stdio"],
    ["-kernel", kernel.image, "-initrd", initramfs, "-append", KERNEL_COMMAND_LINE],
    ["-drive", `if=none,id=disk,format=qcow2,file=${disk}`, "-device", "virtio-blk-pci,drive=disk"],
    [
      "-netdev",
      `tap,id=net,ifname=${HAND_TAP},script=no,downscript=no`,
      "-device",
      "virtio-net-pci,netdev=net,romfile=",
    ],
    ["-chardev", `socket,id=share,path=${socket}`, "-device", "vhost-user-fs-pci,chardev=share,tag=hand"],
  ].flat();
  const qemu = spawn(QEMU, argv, { stdio: ["ignore", "pipe", "inherit"] });
  fs.mkdirSync(HAND_GROUP, { recursive: true });
  for (const { pid } of [qemu, server]) fs.writeFileSync(path.join(HAND_GROUP, "cgroup.procs"), String(pid));
  let text = "";
  qemu.stdout.on("data", (chunk: Buffer) => (text += chunk.toString()));
  const seconds = await received;
  await ended(qemu);
  await ended(server);
  fs.rmdirSync(HAND_GROUP);
  const found = [...text.matchAll(/^== (\w+ \w+) (.*)$/gm)].map(([, name, line]) => [name!, secondsOf(line!)] as const);
  return { ...Object.fromEntries(found), network: seconds };
}

const ended = (child: ChildProcess): Promise<void> =>
  child.exitCode !== null || child.signalCode !== null
    ? Promise.resolve()
    : new Promise((resolve) => void child.once("exit", () => resolve()));

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "berth-bench-throughput-"));
const berth = await startBerth();
const { netlink } = networkOfHost();
try {
  await berth.berth("image", "bootstrap", "busybox");
  const vms = machinesOf(berth);
  const gateway = (
    await berth.docker("network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "bridge")
  ).stdout.trim();
  createTap(HAND_TAP, 0);
  using host = netlink.open();
  const tap = host.link(HAND_TAP)!.index;
  host.addAddress(tap, `${HAND_HOST}/30`);
  host.changeLink(tap, { up: true });
  const sink = await receiver();

  const startedMs = performance.now();
  const size = ["--memory", `${MEMORY}m`, "--add-disk", "256m"];
  await vms.done("create", "oci:busybox", "--name", "bench", ...size, "--", "sleep", "100000");
  await vms.done("start", "bench", "--wait");
  await until("the agent", async () => (await vms.vm("exec", "bench", "--", "true")).code === 0);
  const startMs = performance.now() - startedMs;
  await berth.docker("run", "-d", "--name", "bench", "--runtime", "vm", "busybox", "sleep", "100000");

  const own: Record<string, number[]> = {};
  const hand: Record<string, number[]> = {};
  const note = (into: Record<string, number[]>, name: string, seconds: number) => (into[name] ??= []).push(seconds);
  const inMachine = async (command: string) =>
    (await vms.done("exec", "bench", "--", "sh", "-c", `${command} 2>&1`)).trim();
  const inMicro = async (command: string) =>
    (await berth.docker("exec", "bench", "sh", "-c", `${command} 2>&1`)).stdout.trim();
  for (let round = 0; round < rounds; round++) {
    note(own, "disk write", secondsOf(await inMachine(write("/dev/vdb"))));
    note(own, "disk read", secondsOf(await inMachine(read("/dev/vdb"))));
    let received = sink.next();
    await inMachine(send(gateway, sink.port));
    note(own, "network", await received);
    note(own, "micro files write", secondsOf(await inMicro(write("/file"))));
    received = sink.next();
    await inMicro(send(gateway, sink.port));
    note(own, "micro network", await received);
    for (const [name, seconds] of Object.entries(await byHand(folder, sink.port, sink.next())))
      note(hand, name, seconds);
  }
  sink.close();
  const row = (name: string, mine: string, theirs: string) =>
    rowOf(name, { berth: median(own[mine]!), hand: median(hand[theirs]!) }, LIMIT, "s");
  const rows = [
    rowOf("machine: made and started, to its agent", { berth: startMs }),
    row(`machine: ${MEBIBYTES} MiB written`, "disk write", "disk write"),
    row(`machine: ${MEBIBYTES} MiB read`, "disk read", "disk read"),
    row(`machine: ${SENT_MEBIBYTES} MiB sent`, "network", "network"),
    row(`microVM: ${MEBIBYTES} MiB written`, "micro files write", "files write"),
    row(`microVM: ${SENT_MEBIBYTES} MiB sent`, "micro network", "network"),
  ];
  if (!report(rows)) process.exitCode = 1;
  host.deleteLink(tap);
} finally {
  fs.rmSync(folder, { recursive: true, force: true });
  await berth.stop();
}
