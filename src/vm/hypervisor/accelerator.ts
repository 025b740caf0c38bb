import { existsSync } from "node:fs";
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import path from "node:path";
import { hasCode, MiB, type Logger } from "../../base/index.ts";
import { run } from "../../host/index.ts";
import { KERNEL_COMMAND_LINE, machineArgv } from "./argv.ts";

export type Accelerator = "kvm" | "tcg";

const KVM_DEVICE = "/dev/kvm";
/** A guest under KVM prints its line within 300 ms; one that hangs never does. */
const PROBE_MS = 5_000;
const PROBE_MEMORY = 128 * MiB;
export const PROBE_ANSWER = "berth-probe-answer";

/**
 * Whether KVM works here, found out by running a tiny guest once for each boot of the host, kernel and QEMU: some hosts have the device, and guests hang.
 */
export async function chooseAccelerator(
  cache: string,
  guest: { readonly image: string; readonly initramfs: string },
  log: Logger,
): Promise<Accelerator> {
  if (!existsSync(KVM_DEVICE)) return "tcg";
  const file = path.join(cache, "accelerator.json");
  const key = await hostKey(guest);
  const known = await remembered(file);
  if (known?.key === key) return known.accelerator;
  const accelerator = (await answersUnderKvm(guest)) ? "kvm" : "tcg";
  if (accelerator === "tcg")
    log.warn("KVM is there, but a guest does not start with it; VMs are emulated, which is several times slower", {});
  await mkdir(cache, { recursive: true });
  await writeFile(`${file}.new`, JSON.stringify({ key, accelerator }));
  await rename(`${file}.new`, file);
  return accelerator;
}

async function hostKey({ image }: { image: string }): Promise<string> {
  const bootId = await readFile("/proc/sys/kernel/random/boot_id", "utf8").catch(() => "");
  const { stdout } = await run(["/usr/bin/qemu-system-x86_64", "--version"]);
  return [bootId.trim(), stdout.split("\n")[0], path.basename(image)].join(" ");
}

async function remembered(file: string): Promise<{ key: string; accelerator: Accelerator } | undefined> {
  try {
    return JSON.parse(await readFile(file, "utf8")) as { key: string; accelerator: Accelerator };
  } catch {
    return undefined;
  }
}

async function answersUnderKvm({ image, initramfs }: { image: string; initramfs: string }): Promise<boolean> {
  const commandLine = `${KERNEL_COMMAND_LINE} berth.probe`;
  const argv = machineArgv({
    accelerator: "kvm",
    memoryBytes: PROBE_MEMORY,
    cpus: 1,
    kernel: { image, initramfs, commandLine },
  });
  try {
    const { stdout } = await run(argv, { timeoutMs: PROBE_MS });
    return stdout.includes(PROBE_ANSWER);
  } catch (error) {
    if (hasCode(error, "deadlineExceeded")) return false;
    throw error;
  }
}
