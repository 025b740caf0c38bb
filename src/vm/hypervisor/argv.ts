import { MiB } from "../../base/index.ts";

export type Accelerator = "kvm" | "tcg";

/** QEMU's command line (https://www.qemu.org/docs/master/system/invocation.html). Pure: what a machine is, to argv. */
export interface MachineSpec {
  readonly accelerator: Accelerator;
  readonly memoryBytes: number;
  readonly cpus: number;
  /** Booted directly; absent: the firmware boots from the first disk. */
  readonly kernel?: { readonly image: string; readonly initramfs: string; readonly commandLine: string };
  /** A UEFI firmware and its variables; absent: BIOS. */
  readonly uefi?: { readonly code: string; readonly variables: string };
  readonly disks?: readonly MachineDisk[];
  readonly networks?: readonly MachineNetwork[];
  /** Socket of a virtiofsd, shared with the guest under the tag `berth`. */
  readonly shareSocket?: string;
  /** Socket on which QEMU listens for QMP. */
  readonly monitorSocket?: string;
  /** Socket on which the serial console listens; absent: the console is standard output. */
  readonly consoleSocket?: string;
  /** Everything the console says is also written here. */
  readonly consoleLog?: string;
  readonly uuid?: string;
  /** A file that is the machine's memory; absent: anonymous memory. Either is shared with the server of files. */
  readonly memoryFile?: string;
  /** Slots into which devices can be put while it runs: `slot0`, `slot1`… */
  readonly slots?: number;
  /** It waits for the state of a machine with the same devices (`migrate-incoming`), and stays stopped then. */
  readonly incoming?: boolean;
}

export interface MachineDisk {
  readonly file: string;
  readonly format: "raw" | "qcow2";
  readonly readonly?: boolean;
}

export type MachineNetwork = { readonly macAddress: string } & (
  | { readonly kind: "tap"; readonly name: string }
  /** QEMU's own network stack, for machines without one of the engine's networks. */
  | {
      readonly kind: "user";
      readonly forwards: ReadonlyArray<{ readonly hostPort: number; readonly guestPort: number }>;
    }
);

/** Translated code of a small guest fits; the default of 1 GiB would count as the machine's memory. */
const TRANSLATION_CACHE_MIB = 64;
const LARGE_TRANSLATION_CACHE_MIB = 256;
const LARGE_GUEST_BYTES = 512 * MiB;

export function machineArgv(spec: MachineSpec, binary = "/usr/bin/qemu-system-x86_64"): string[] {
  return [
    binary,
    "-nodefaults",
    "-no-user-config",
    "-display",
    "none",
    "-no-reboot",
    "-sandbox",
    "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
    "-M",
    `q35,usb=off,smbus=off,sata=off,vmport=off,hpet=off,memory-backend=memory`,
    "-accel",
    accelerator(spec),
    "-cpu",
    spec.accelerator === "kvm" ? "host" : "max",
    "-smp",
    String(spec.cpus),
    "-m",
    `${Math.ceil(spec.memoryBytes / MiB)}M`,
    "-object",
    memory(spec),
    ...slots(spec),
    ...(spec.incoming ? ["-incoming", "defer", "-S"] : []),
    ...(spec.uuid ? ["-uuid", spec.uuid] : []),
    ...(spec.kernel
      ? ["-kernel", spec.kernel.image, "-initrd", spec.kernel.initramfs, "-append", spec.kernel.commandLine]
      : []),
    ...firmware(spec),
    ...console(spec),
    ...(spec.monitorSocket ? ["-qmp", `unix:${spec.monitorSocket},server=on,wait=off`] : []),
    ...(spec.networks ?? []).flatMap(network),
    ...(spec.disks ?? []).flatMap(disk),
    ...(spec.shareSocket
      ? ["-chardev", `socket,id=share,path=${spec.shareSocket}`, "-device", "vhost-user-fs-pci,chardev=share,tag=berth"]
      : []),
  ];
}

function memory({ memoryBytes, memoryFile }: MachineSpec): string {
  const backend = memoryFile ? "memory-backend-file" : "memory-backend-memfd";
  const file = memoryFile ? `,mem-path=${memoryFile}` : "";
  return `${backend},id=memory,size=${Math.ceil(memoryBytes / MiB)}M,share=on${file}`;
}

function slots({ slots: count = 0 }: MachineSpec): string[] {
  return Array.from({ length: count }, (_none, index) => [
    "-device",
    `pcie-root-port,id=${slotOf(index)},chassis=${index + 1},slot=${index + 1}`,
  ]).flat();
}

export const slotOf = (index: number): string => `slot${index}`;

function accelerator({ accelerator: kind, memoryBytes }: MachineSpec): string {
  if (kind === "kvm") return "kvm";
  const cacheMib = memoryBytes > LARGE_GUEST_BYTES ? LARGE_TRANSLATION_CACHE_MIB : TRANSLATION_CACHE_MIB;
  return `tcg,thread=multi,tb-size=${cacheMib}`;
}

function firmware({ uefi }: MachineSpec): string[] {
  if (!uefi) return [];
  return [
    "-drive",
    `if=pflash,format=raw,readonly=on,file=${uefi.code}`,
    "-drive",
    `if=pflash,format=raw,file=${uefi.variables}`,
  ];
}

function console({ consoleSocket, consoleLog }: MachineSpec): string[] {
  const log = consoleLog ? `,logfile=${consoleLog},logappend=on` : "";
  const chardev = consoleSocket
    ? `socket,id=console,path=${consoleSocket},server=on,wait=off${log}`
    : `stdio,id=console,signal=off${log}`;
  return ["-chardev", chardev, "-serial", "chardev:console"];
}

function network(network: MachineNetwork, index: number): string[] {
  const id = `net${index}`;
  const backend =
    network.kind === "tap"
      ? `tap,id=${id},ifname=${network.name},script=no,downscript=no`
      : `user,id=${id}` +
        network.forwards.map(({ hostPort, guestPort }) => `,hostfwd=tcp:127.0.0.1:${hostPort}-:${guestPort}`).join("");
  return ["-netdev", backend, "-device", `virtio-net-pci,netdev=${id},mac=${network.macAddress},romfile=`];
}

function disk({ file, format, readonly }: MachineDisk, index: number): string[] {
  const id = `disk${index}`;
  const options = `if=none,id=${id},file=${file},format=${format},discard=unmap,readonly=${readonly ? "on" : "off"}`;
  return ["-drive", options, "-device", `virtio-blk-pci,drive=${id}`];
}

/**
 * What makes the cloud kernel boot fast: no self-tests, no calibration loop, no mitigations that emulation makes dear. The guest is the whole
 * trust domain of what runs in it, so its own layout randomisation and mitigations protect nobody else.
 */
export const KERNEL_COMMAND_LINE = [
  "console=ttyS0",
  "quiet",
  "panic=-1",
  "no_timer_check",
  "cryptomgr.notests",
  "nokaslr",
  // Code that is patched at boot is translated twice.
  "noreplace-smp",
  "mitigations=off",
  "nopti",
  "lpj=4000000",
].join(" ");
