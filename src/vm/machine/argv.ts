import type { vm } from "../../api/index.ts";
import { MiB } from "../../base/index.ts";

/**
 * QEMU's command line for a whole computer (https://www.qemu.org/docs/master/system/invocation.html). Pure. Unlike a microVM's it has firmware, snapshots, hot plug and may
 * reboot, and every disk has a node name by which it is snapshotted, backed up and resized.
 */
export interface MachineLayout {
  readonly uuid: string;
  readonly spec: vm.VmSpec;
  readonly accelerator: "kvm" | "tcg";
  /** As QEMU sees them. */
  readonly disks: ReadonlyArray<{ readonly name: string; readonly file: string; readonly readonly?: boolean }>;
  /** cloud-init's seed. */
  readonly seed?: string;
  readonly cdrom?: string;
  readonly kernel?: { readonly image: string; readonly initramfs: string; readonly commandLine: string };
  readonly uefi?: { readonly code: string; readonly variables: string };
  /** The screen asks for one, which is set by the monitor. */
  readonly vncPassword?: boolean;
  readonly taps: ReadonlyArray<{ readonly name: string; readonly macAddress: string }>;
  /** Folder of the sockets. */
  readonly run: string;
  /** Name of the snapshot to go on from. */
  readonly resumeFrom?: string;
  /** Only the monitor: the guest does not run. */
  readonly frozen?: boolean;
}

export const SHARE_SOCKET = (index: number): string => `share${index}.sock`;
const TRANSLATION_CACHE_MIB = 256;
/** After the CD-ROM drive. */
const FIRST_DISK_BOOT_INDEX = 2;

export function machineCommand(layout: MachineLayout, binary = "/usr/bin/qemu-system-x86_64"): string[] {
  const { spec, run } = layout;
  return [
    binary,
    "-nodefaults",
    "-no-user-config",
    "-display",
    "none",
    "-sandbox",
    "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
    "-uuid",
    layout.uuid,
    "-M",
    `q35,usb=off,smbus=off,vmport=off,sata=${layout.cdrom ? "on" : "off"},memory-backend=memory`,
    "-accel",
    layout.accelerator === "kvm" ? "kvm" : `tcg,thread=multi,tb-size=${TRANSLATION_CACHE_MIB}`,
    "-cpu",
    layout.accelerator === "kvm" ? "host" : "max",
    "-smp",
    `${spec.cpus},maxcpus=${spec.maxCpus},sockets=${spec.maxCpus},cores=1,threads=1`,
    ...memory(spec),
    ...boot(layout),
    "-chardev",
    "stdio,id=console,signal=off",
    "-serial",
    "chardev:console",
    "-qmp",
    `unix:${run}/qmp.sock,server=on,wait=off`,
    "-device",
    "virtio-serial-pci",
    "-chardev",
    `socket,id=agent,path=${run}/agent.sock,server=on,wait=off`,
    "-device",
    "virtserialport,chardev=agent,name=org.qemu.guest_agent.0",
    "-device",
    "virtio-rng-pci",
    "-device",
    "virtio-balloon-pci,id=balloon",
    ...layout.disks.flatMap(disk),
    ...(layout.seed ? seed(layout.seed) : []),
    ...(layout.cdrom ? cdrom(layout.cdrom) : []),
    ...layout.taps.flatMap(network),
    ...spec.shares.flatMap(({ tag }, index) => share(tag, `${run}/${SHARE_SOCKET(index)}`, index)),
    ...(spec.vnc
      ? [
          "-vnc",
          `unix:${run}/vnc.sock${layout.vncPassword ? ",password=on" : ""}`,
          "-device",
          "VGA",
          "-device",
          "qemu-xhci",
          "-device",
          "usb-tablet",
        ]
      : []),
    ...(layout.resumeFrom ? ["-loadvm", layout.resumeFrom] : []),
    ...(layout.frozen ? ["-S"] : []),
  ];
}

function memory({ memoryBytes, maxMemoryBytes }: vm.VmSpec): string[] {
  const size = Math.ceil(memoryBytes / MiB);
  const more = Math.ceil(maxMemoryBytes / MiB) - size;
  const base = ["-object", `memory-backend-memfd,id=memory,size=${size}M,share=on`];
  if (more <= 0) return ["-m", `${size}M`, ...base];
  return [
    "-m",
    `${size}M,slots=1,maxmem=${size + more}M`,
    ...base,
    "-object",
    `memory-backend-memfd,id=more,size=${more}M,share=on`,
    "-device",
    "virtio-mem-pci,id=growth,memdev=more,requested-size=0",
  ];
}

function boot({ kernel, uefi }: MachineLayout): string[] {
  if (kernel) return ["-kernel", kernel.image, "-initrd", kernel.initramfs, "-append", kernel.commandLine];
  if (!uefi) return [];
  return [
    "-drive",
    `if=pflash,unit=0,format=raw,readonly=on,file=${uefi.code}`,
    "-drive",
    `if=pflash,unit=1,format=qcow2,id=variables,file=${uefi.variables}`,
  ];
}

function disk({ name, file, readonly = false }: MachineLayout["disks"][number], index: number): string[] {
  const node = {
    driver: "qcow2",
    "node-name": name,
    discard: "unmap",
    "detect-zeroes": "unmap",
    "read-only": readonly,
    file: { driver: "file", filename: file, discard: "unmap" },
  };
  return [
    "-blockdev",
    JSON.stringify(node),
    "-device",
    `virtio-blk-pci,id=${name}-device,drive=${name},num-queues=1,serial=${name},bootindex=${FIRST_DISK_BOOT_INDEX + index}`,
  ];
}

function seed(file: string): string[] {
  const node = { driver: "raw", "node-name": "seed", "read-only": true, file: { driver: "file", filename: file } };
  return ["-blockdev", JSON.stringify(node), "-device", "virtio-blk-pci,drive=seed,num-queues=1,serial=seed"];
}

function cdrom(file: string): string[] {
  const node = { driver: "raw", "node-name": "cdrom", "read-only": true, file: { driver: "file", filename: file } };
  return ["-blockdev", JSON.stringify(node), "-device", "ide-cd,bus=ide.0,drive=cdrom,bootindex=1"];
}

function network({ name, macAddress }: MachineLayout["taps"][number], index: number): string[] {
  return [
    "-netdev",
    `tap,id=net${index},ifname=${name},script=no,downscript=no`,
    "-device",
    `virtio-net-pci,netdev=net${index},mac=${macAddress},romfile=`,
  ];
}

function share(tag: string, socket: string, index: number): string[] {
  return [
    "-chardev",
    `socket,id=share${index},path=${socket}`,
    "-device",
    `vhost-user-fs-pci,chardev=share${index},tag=${tag}`,
  ];
}
