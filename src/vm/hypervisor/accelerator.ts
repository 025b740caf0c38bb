import { existsSync } from "node:fs";
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import path from "node:path";
import { hasCode, MiB, type Logger } from "../../base/index.ts";
import { run } from "../../host/index.ts";
import { CACHE } from "../guest/index.ts";
import { KERNEL_COMMAND_LINE, machineArgv, type Accelerator } from "./argv.ts";

export type { Accelerator } from "./argv.ts";

const KVM_DEVICE = "/dev/kvm";
const QEMU = "/usr/bin/qemu-system-x86_64";
/** A guest under KVM prints its line within 300 ms; one that hangs never does. */
const PROBE_MS = 5_000;
const PROBE_MEMORY = 128 * MiB;
const REASON_CHARACTERS = 200;
const PROBE_ANSWER = "berth-probe-answer";

/** How machines of this host run, and why not faster. */
export interface AcceleratorFacts {
  readonly accelerator: Accelerator;
  /** Why KVM is not used; absent when it is. */
  readonly reason?: string;
}

export interface GuestFiles {
  readonly image: string;
  readonly initramfs: string;
}

/** What a probe stands on; tests put a QEMU of their own in. */
export interface ProbeOptions {
  readonly binary?: string;
  readonly device?: string;
  readonly deadlineMs?: number;
}

/**
 * Whether KVM works here, found out by running a tiny guest once for each boot of the host, kernel and QEMU: some hosts have the device, and guests
 * hang, or QEMU ends because the host's KVM refuses a register of the processor it offers.
 */
export async function chooseAccelerator(
  cache: string,
  guest: GuestFiles,
  log: Logger,
  options: ProbeOptions = {},
): Promise<Accelerator> {
  return (await probeAccelerator(cache, guest, log, options)).accelerator;
}

export async function probeAccelerator(
  cache: string,
  guest: GuestFiles,
  log: Logger,
  { binary = QEMU, device = KVM_DEVICE, deadlineMs = PROBE_MS }: ProbeOptions = {},
): Promise<AcceleratorFacts> {
  if (!existsSync(device)) return { accelerator: "tcg", reason: `there is no ${device}` };
  const key = await hostKey(guest, binary);
  const known = await remembered(cache);
  if (known?.key === key) return known;
  const reason = await whyNotKvm(guest, binary, deadlineMs);
  const facts: AcceleratorFacts = reason === undefined ? { accelerator: "kvm" } : { accelerator: "tcg", reason };
  if (reason !== undefined)
    log.warn("KVM is there but does not work; VMs are emulated, which is several times slower", { reason });
  const file = factsFile(cache);
  await mkdir(cache, { recursive: true });
  await writeFile(`${file}.${process.pid}`, JSON.stringify({ key, ...facts }));
  await rename(`${file}.${process.pid}`, file);
  return facts;
}

/** What was found out since the host's last start, without a probe; undefined when nothing was. */
export async function knownAccelerator(cache = CACHE): Promise<AcceleratorFacts | undefined> {
  const { key, ...facts } = (await remembered(cache)) ?? {};
  return key?.split(" ")[1] === (await bootId()) ? (facts as AcceleratorFacts) : undefined;
}

const factsFile = (cache: string): string => path.join(cache, "accelerator.json");

async function hostKey({ image }: GuestFiles, binary: string): Promise<string> {
  const { stdout } = await run([binary, "--version"]);
  // The number is that of the probe itself: a better probe asks again.
  return ["2", await bootId(), stdout.split("\n")[0], path.basename(image)].join(" ");
}

async function bootId(): Promise<string> {
  return (await readFile("/proc/sys/kernel/random/boot_id", "utf8").catch(() => "")).trim();
}

async function remembered(cache: string): Promise<(AcceleratorFacts & { readonly key: string }) | undefined> {
  try {
    return JSON.parse(await readFile(factsFile(cache), "utf8")) as AcceleratorFacts & { key: string };
  } catch {
    return undefined;
  }
}

/** Runs the guest under KVM. Undefined: it answered. */
async function whyNotKvm(guest: GuestFiles, binary: string, deadlineMs: number): Promise<string | undefined> {
  const argv = machineArgv(
    {
      accelerator: "kvm",
      memoryBytes: PROBE_MEMORY,
      cpus: 1,
      kernel: { ...guest, commandLine: `${KERNEL_COMMAND_LINE} berth.probe` },
    },
    binary,
  );
  try {
    const { code, stdout, stderr } = await run(argv, { timeoutMs: deadlineMs });
    if (stdout.includes(PROBE_ANSWER)) return undefined;
    const said =
      stderr
        .trim()
        .split("\n")[0]
        ?.replace(/^\S*qemu\S*: /, "") ?? "";
    return `QEMU ended with ${code} before the guest answered${said ? `: ${said.slice(0, REASON_CHARACTERS)}` : ""}`;
  } catch (error) {
    if (hasCode(error, "deadlineExceeded")) return `a guest under it does not answer within ${deadlineMs} ms`;
    throw error;
  }
}
