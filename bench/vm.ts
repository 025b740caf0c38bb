/**
 * MicroVMs: `node bench/vm.ts [rounds]` (root). A warm start beside what dockerd takes for a plain container, a cold one beside the best bare boot of
 * the same kernel by hand, and what a running one costs in memory.
 */
import { spawn } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { packCpio } from "../src/vm/guest/cpio.ts";
import { openKernel } from "../src/vm/guest/index.ts";
import { KERNEL_COMMAND_LINE } from "../src/vm/hypervisor/argv.ts";
import { startBerth } from "../test/support/daemon.ts";
import {
  berthContender,
  client,
  compare,
  median,
  pssOf,
  report,
  rowOf,
  shareBusybox,
  sleep,
  startDockerd,
  type Contender,
  type Row,
} from "./lib.ts";

const rounds = Number(process.argv[2] ?? 7);
const CACHE = "/var/cache/berth/vm";
const TEMPLATE_MS = 60_000;
const READY = "by-hand-ready";
/** Microvms at once, when memory is measured. */
const CROWD = 3;
const QEMU = "/usr/bin/qemu-system-x86_64";

/** Starts a command and answers with the milliseconds until it has written `word`; it is ended then, or ends by itself. */
function untilSays(argv: readonly string[], word: string, env = process.env, kill = false): Promise<number> {
  return new Promise((resolve, reject) => {
    const startedMs = performance.now();
    const child = spawn(argv[0]!, argv.slice(1), { env, stdio: ["ignore", "pipe", "inherit"] });
    let text = "";
    let tookMs: number | undefined;
    child.stdout.on("data", (chunk: Buffer) => {
      text += chunk.toString();
      if (tookMs !== undefined || !text.includes(word)) return;
      tookMs = performance.now() - startedMs;
      if (kill) child.kill("SIGKILL");
    });
    child.on("close", () =>
      tookMs === undefined ? reject(new Error(`${argv.join(" ")} never said ${word}: ${text}`)) : resolve(tookMs),
    );
  });
}

/** Bare boots by hand, nothing but the kernel and a shell that says a word: the best that was found, and that of the yardstick, whose kernel unpacks itself. */
async function bareBoots(folder: string): Promise<{ readonly best: string[]; readonly yardstick: string[] }> {
  const kernel = await openKernel(CACHE);
  const initramfs = path.join(folder, "bare.cpio");
  const script = `#!/bin/busybox sh\n/bin/busybox echo ${READY}\nexec /bin/busybox sleep 1000\n`;
  const entries = [
    ...["bin", "dev"].map((name) => ({ path: name, mode: 0o040755 })),
    { path: "dev/console", mode: 0o020600, device: [5, 1] as const },
    { path: "init", mode: 0o100755, content: Buffer.from(script) },
    { path: "bin/busybox", mode: 0o100755, content: fs.readFileSync("/usr/bin/busybox") },
  ];
  fs.writeFileSync(initramfs, packCpio(entries));
  const machine = ["-M", "q35", "-m", "128", "-accel", "tcg,thread=multi,tb-size=64", "-cpu", "max"];
  const quiet = ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"];
  const argv = (image: string, commandLine: string) => {
    const boot = ["-kernel", image, "-initrd", initramfs, "-append", commandLine, "-serial", "stdio"];
    return [QEMU, ...quiet, ...machine, ...boot];
  };
  return {
    best: argv(kernel.image, KERNEL_COMMAND_LINE),
    yardstick: argv(kernel.image.replace("vmlinux-", "vmlinuz-"), KERNEL_COMMAND_LINE.replace(" noreplace-smp", "")),
  };
}

/** A first machine is booted; what is saved after it is there when nothing is being made any more. */
async function waitForTemplate(berth: Contender): Promise<void> {
  client(berth, "run", "--rm", "--runtime", "vm", "busybox", "true");
  await savedMachines(1);
}

/** The folders of saved machines with so many cards, once nothing is being saved any more; none when none comes. */
async function savedMachines(cards: number): Promise<string[]> {
  const found = (pattern: string) => fs.globSync(path.join(CACHE, "templates/*", pattern));
  const saved = () => found(`[0-9]*-${cards}/state`);
  const deadline = performance.now() + TEMPLATE_MS;
  do await sleep(1000);
  while ((saved().length === 0 || found(".new-*").length > 0) && performance.now() < deadline);
  return saved().map((state) => path.dirname(state));
}

const onNetworks = (names: readonly string[]): string[] => names.flatMap((name) => ["--network", name]);

/** What each of some running microVMs takes: berth's own share, and what it runs. */
async function memory(berth: Contender): Promise<Row[]> {
  const own = () => berth.processes();
  const before = new Set(own());
  const daemonBefore = pssOf([...before]);
  const names = Array.from({ length: CROWD }, (_, index) => `memory-${index}`);
  for (const name of names) client(berth, "run", "-d", "--name", name, "--runtime", "vm", "busybox", "sleep", "1000");
  await sleep(1000);
  const fresh = own().filter((pid) => !before.has(pid));
  const daemon = (pssOf([...before]) - daemonBefore) / CROWD;
  const nameOf = (pid: number) => fs.readFileSync(`/proc/${pid}/comm`, "utf8").trim();
  const all = [...fresh, ...childrenOf(fresh)];
  const share = (match: (name: string) => boolean) =>
    pssOf([...new Set(all)].filter((pid) => match(nameOf(pid)))) / CROWD;
  const rows = [
    rowOf(
      "memory: berth's share of a microVM",
      { berth: share((name) => /^(conmon|perl)/.test(name)), limit: 3 },
      1,
      "MiB",
    ),
    rowOf("memory: the daemon grows by", { berth: daemon }, undefined, "MiB"),
    rowOf("memory: QEMU", { berth: share((name) => name.startsWith("qemu")) }, undefined, "MiB"),
    rowOf("memory: virtiofsd", { berth: share((name) => name.startsWith("virtiofsd")) }, undefined, "MiB"),
  ];
  client(berth, "rm", "-f", ...names);
  return rows;
}

function childrenOf(pids: readonly number[]): number[] {
  const found = pids.flatMap((pid) => {
    try {
      return fs.readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter(Boolean).map(Number);
    } catch {
      return [];
    }
  });
  return found.length === 0 ? [] : [...found, ...childrenOf(found)];
}

const berth = await startBerth();
const dockerd = await startDockerd();
const own = berthContender(berth);
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "berth-bench-vm-"));
try {
  await berth.berth("image", "bootstrap", "busybox");
  const contenders = [own, ...(dockerd ? [dockerd] : [])];
  shareBusybox(contenders);
  await waitForTemplate(own);
  await sleep(3000);
  const rows = await compare(
    [
      {
        name: "warm: run --rm --runtime vm busybox true",
        limit: 1.2,
        run: (contender) =>
          client(contender, "run", "--rm", ...(contender === own ? ["--runtime", "vm"] : []), "busybox", "true"),
      },
    ],
    contenders,
    rounds,
  );
  const networks = ["one", "two"];
  for (const name of networks) client(own, "network", "create", name);
  const bare = await bareBoots(folder);
  const cold = ["docker", "run", "--rm", "--runtime", "vm", ...onNetworks(networks), "busybox", "echo", READY];
  const values: Record<"berth" | "hand" | "yardstick", number[]> = { berth: [], hand: [], yardstick: [] };
  // A daemon saves such a machine once in its life: after that, and without what another life left, each is booted.
  await untilSays(cold, READY, berth.env);
  for (const folder of await savedMachines(networks.length)) fs.rmSync(folder, { recursive: true });
  for (let round = 0; round < Math.min(rounds, 5); round++) {
    values.berth.push(await untilSays(cold, READY, berth.env));
    values.hand.push(await untilSays(bare.best, READY, process.env, true));
    values.yardstick.push(await untilSays(bare.yardstick, READY, process.env, true));
  }
  rows.push(
    rowOf(
      "cold: first output, two networks",
      { berth: median(values.berth), hand: median(values.hand), yardstick: median(values.yardstick) },
      1.15,
    ),
    ...(await memory(own)),
  );
  if (!report(rows)) process.exitCode = 1;
} finally {
  fs.rmSync(folder, { recursive: true, force: true });
  await dockerd?.stop();
  await berth.stop();
}
