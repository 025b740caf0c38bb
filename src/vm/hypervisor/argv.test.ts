import assert from "node:assert/strict";
import { test } from "node:test";
import { MiB } from "../../base/index.ts";
import { machineArgv, type MachineSpec } from "./argv.ts";

const MICRO: MachineSpec = {
  accelerator: "tcg",
  memoryBytes: 352 * MiB,
  cpus: 2,
  kernel: { image: "/machine/kernel", initramfs: "/machine/initramfs", commandLine: "console=ttyS0 quiet" },
  monitorSocket: "/machine/run/qmp.sock",
  networks: [{ kind: "tap", name: "ctl0", macAddress: "02:be:77:00:00:02" }],
};

/** Words in order, so that a change of a machine is seen in review. */
const line = (spec: MachineSpec) => machineArgv(spec).join(" ");

test("a microVM that is booted: trimmed, confined, its memory shared with the server of its files", () => {
  assert.equal(
    line({ ...MICRO, shareSocket: "/machine/run/share.sock" }),
    "/usr/bin/qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot " +
      "-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny " +
      "-M q35,usb=off,smbus=off,sata=off,vmport=off,hpet=off,memory-backend=memory " +
      "-accel tcg,thread=multi,tb-size=64 -cpu max -smp 2 -m 352M " +
      "-object memory-backend-memfd,id=memory,size=352M,share=on " +
      "-kernel /machine/kernel -initrd /machine/initramfs -append console=ttyS0 quiet " +
      "-chardev stdio,id=console,signal=off -serial chardev:console " +
      "-qmp unix:/machine/run/qmp.sock,server=on,wait=off " +
      "-netdev tap,id=net0,ifname=ctl0,script=no,downscript=no " +
      "-device virtio-net-pci,netdev=net0,mac=02:be:77:00:00:02,romfile= " +
      "-chardev socket,id=share,path=/machine/run/share.sock -device vhost-user-fs-pci,chardev=share,tag=berth",
  );
});

test("one that is saved, and one that goes on from it, have the same devices and memory in a file", () => {
  const saved = line({ ...MICRO, memoryFile: "/machine/memory/memory", slots: 1 });
  assert.match(saved, /-object memory-backend-file,id=memory,size=352M,share=on,mem-path=\/machine\/memory\/memory /);
  assert.match(saved, / -device pcie-root-port,id=slot0,chassis=1,slot=1 /);
  const restored = line({ ...MICRO, memoryFile: "/machine/memory/memory", slots: 1, incoming: true });
  assert.equal(restored.replace(" -incoming defer -S", ""), saved);
});

test("under KVM the guest sees the host's processor; a big guest has a bigger translation cache without it", () => {
  assert.match(line({ ...MICRO, accelerator: "kvm" }), / -accel kvm -cpu host /);
  assert.match(line({ ...MICRO, memoryBytes: 1024 * MiB }), /tb-size=256/);
});
