import assert from "node:assert/strict";
import { test } from "node:test";
import type { vm } from "../../api/index.ts";
import { GiB, hasCode, MiB, seededRandom } from "../../base/index.ts";
import { refuseOvercommit, refuseShortage } from "./admission.ts";
import { adviceFor } from "./advice.ts";
import { machineCommand, type MachineLayout } from "./argv.ts";
import { checkRequest, restoredRecord } from "./create.ts";
import { dhcpConfig, onlyOwnRequests } from "./dhcp.ts";
import { descriptor, parseDescriptor } from "./ova.ts";
import { nameServers, seedInterfaces } from "./network.ts";
import type { MachineRecord } from "./record.ts";
import { checkResize } from "./resize.ts";
import { ociFiles } from "./seed.ts";
import { parseSteal, stealPercent } from "./stats.ts";

const SPEC: vm.VmSpec = {
  cpus: 1,
  maxCpus: 4,
  memoryBytes: 512 * MiB,
  maxMemoryBytes: 512 * MiB,
  firmware: "bios",
  disks: [{ name: "disk0", sizeBytes: 2 * GiB }],
  networks: [{ network: "bridge", macAddress: "52:54:00:00:00:01" }],
  ports: [],
  shares: [],
  limits: {},
  hostname: "web",
  user: "berth",
  sshKeys: [],
  vnc: false,
  autostart: false,
};

const RECORD: MachineRecord = {
  id: "0123456789ab",
  name: "web",
  source: "debian",
  uuid: "cecd410a-0e1c-4953-a50d-e857d5a4faab",
  instanceId: "i-1",
  spec: SPEC,
  state: "running",
  guest: "system",
  bases: ["/base.qcow2"],
  createdMs: 0,
  addresses: [],
  publishedPorts: [],
  snapshots: [],
};

const LAYOUT: MachineLayout = {
  uuid: RECORD.uuid,
  spec: SPEC,
  accelerator: "tcg",
  disks: [{ name: "disk0", file: "/d/disk0.qcow2" }],
  seed: "/d/seed.iso",
  taps: [{ name: "tap0", macAddress: "52:54:00:00:00:01" }],
  run: "/run/m",
};

/** The value after an option, for each time that it stands there. */
const values = (argv: readonly string[], option: string) => argv.filter((_item, index) => argv[index - 1] === option);

test("a machine's command line: confined, with named disks, an agent's port, and room for more processors", () => {
  const argv = machineCommand(LAYOUT);
  assert.match(values(argv, "-sandbox")[0]!, /spawn=deny/);
  assert.deepEqual(values(argv, "-smp"), ["1,maxcpus=4,sockets=4,cores=1,threads=1"]);
  const [disk] = values(argv, "-blockdev").map((text) => JSON.parse(text) as Record<string, unknown>);
  assert.equal(disk!["node-name"], "disk0");
  assert.ok(argv.some((item) => item.includes("org.qemu.guest_agent.0")));
  assert.ok(!argv.includes("-no-reboot"));
  assert.ok(!argv.includes("-loadvm"));
});

test("every virtio disk has one queue, whatever the processors: a memory image fits after one was added", () => {
  const devices = values(machineCommand(LAYOUT), "-device").filter((item) => item.startsWith("virtio-blk"));
  assert.equal(devices.length, 2);
  for (const device of devices) assert.match(device, /num-queues=1/);
});

test("memory that can grow is a device of its own; firmware, screen and CD-ROM come when asked for", () => {
  const grows = machineCommand({ ...LAYOUT, spec: { ...SPEC, maxMemoryBytes: GiB } });
  assert.ok(grows.includes("virtio-mem-pci,id=growth,memdev=more,requested-size=0"));
  const full = machineCommand({
    ...LAYOUT,
    spec: { ...SPEC, vnc: true },
    cdrom: "/c.iso",
    uefi: { code: "/code.fd", variables: "/vars" },
    resumeFrom: "good",
  });
  assert.deepEqual(values(full, "-vnc"), ["unix:/run/m/vnc.sock"]);
  assert.deepEqual(values(full, "-loadvm"), ["good"]);
  assert.equal(values(full, "-drive").length, 2);
  assert.ok(full.includes("ide-cd,bus=ide.0,drive=cdrom,bootindex=1"));
});

test("a guest gets the link's addresses, and an address from which it reaches the name server", () => {
  const network = {
    links: [{ name: "eth0", macAddress: "52:54:00:00:00:01", mtu: 1500, addresses: ["172.18.0.2/16"] }],
    routes: [{ destination: "0.0.0.0/0", gateway: "172.18.0.1", link: "eth0" }],
  };
  assert.deepEqual(seedInterfaces(network, nameServers("nameserver 127.0.0.11\n")), [
    {
      macAddress: "52:54:00:00:00:01",
      addresses: ["172.18.0.2/16", "169.254.77.54/24"],
      gateway: "172.18.0.1",
      nameServers: ["169.254.77.53"],
    },
  ]);
});

test("an OCI image's process is quoted, and variables that no shell knows are left out", () => {
  const spec = {
    ...SPEC,
    process: { args: ["sh", "-c", "echo 'it'"], env: ["A=b c", "x-y=1"], cwd: "/srv", user: "5:6" },
  };
  const files = ociFiles({ ...RECORD, guest: "oci", spec }, []);
  const process = files.get("process.sh")!;
  assert.match(process, /^export A='b c'$/m);
  assert.doesNotMatch(process, /x-y/);
  assert.match(process, /--setgid=6 --setuid=5/);
});

test("what a host has not is refused before a machine starts, with the figures", () => {
  const short = (error: unknown) => hasCode(error, "resourceExhausted") && /512 MiB.*100 MiB/.test(String(error));
  assert.throws(() => refuseShortage({ totalBytes: GiB, availableBytes: 100 * MiB }, 512 * MiB), short);
  const host = { memoryBytes: GiB, cpus: 2 };
  refuseOvercommit(host, [SPEC], SPEC);
  assert.throws(() => refuseOvercommit(host, [SPEC, SPEC, SPEC], SPEC), /would be promised/);
  assert.throws(() => refuseOvercommit({ ...host, memoryBytes: 64 * GiB }, [], { ...SPEC, cpus: 17 }), /17 processors/);
});

test("a resize is refused with what could be had", () => {
  checkResize(SPEC, { cpus: 4, diskBytes: 3 * GiB }, true);
  checkResize(SPEC, { cpus: 8, memoryBytes: GiB }, false);
  assert.throws(() => checkResize(SPEC, { cpus: 8 }, true), /4 processors at most/);
  assert.throws(() => checkResize({ ...SPEC, cpus: 2 }, { cpus: 1 }, true), /cannot be taken away/);
  assert.throws(() => checkResize(SPEC, { memoryBytes: GiB }, true), /512 MiB of memory at most/);
  assert.throws(() => checkResize(SPEC, { diskBytes: GiB }, false), /cannot shrink/);
});

test("bad requests are refused with what is right", () => {
  checkRequest({ name: "a", source: "debian" });
  assert.throws(() => checkRequest({ name: "../a", source: "debian" }), /no name/);
  assert.throws(() => checkRequest({ name: "a", source: "debian", cpus: 0 }), /processors/);
  assert.throws(() => checkRequest({ name: "a", source: "debian", memoryBytes: 1 }), /too few/);
  assert.throws(() => checkRequest({ name: "a", source: "debian", hostname: "a;b" }), /no hostname/);
  for (const screen of [{ vncPassword: "secret" }, { vnc: true, vncPassword: "123456789" }])
    assert.throws(() => checkRequest({ name: "a", source: "debian", ...screen }), /password/);
});

test("advice names the figures: backups, size, the host", () => {
  const day = 24 * 3_600_000;
  const kinds = (stats: vm.VmStats | undefined, record = RECORD, nowMs = 3 * day) =>
    adviceFor(record, stats, nowMs).map(({ kind }) => kind);
  assert.deepEqual(kinds(undefined), ["noRecentBackup"]);
  assert.deepEqual(kinds(undefined, { ...RECORD, lastBackupMs: 2 * day }), []);
  const stats: vm.VmStats = {
    atMs: 0,
    cpuNs: 0,
    memoryGivenBytes: 512 * MiB,
    memoryUsedBytes: 50 * MiB,
    hostMemoryBytes: 0,
    readBytes: 0,
    writeBytes: 0,
    rxBytes: 0,
    txBytes: 0,
    hostPressure: {},
  };
  const fresh = { ...RECORD, lastBackupMs: 3 * day };
  assert.deepEqual(kinds(stats, fresh), ["overProvisioned"]);
  assert.deepEqual(kinds({ ...stats, memoryUsedBytes: 500 * MiB, cpuPercent: 99 }, fresh), [
    "underProvisioned",
    "underProvisioned",
  ]);
  assert.deepEqual(kinds({ ...stats, memoryUsedBytes: 200 * MiB, hostPressure: { io: 40 } }, fresh), ["hostStressed"]);
  const wide = { ...fresh, spec: { ...SPEC, cpus: 4 }, startedMs: 0 };
  const idle = { ...stats, memoryUsedBytes: 200 * MiB, cpuNs: 60e9 };
  assert.deepEqual(kinds({ ...idle, atMs: 60_000 }, wide), [], "too short to tell");
  assert.match(
    adviceFor(wide, { ...idle, atMs: 1_200_000 }, 3 * day)[0]!.message,
    /0\.05 of its 4 processors.*20 minutes/,
  );
});

test("steal is told from two looks at the guest's counters", () => {
  const first = parseSteal("cpu  10 0 0 80 0 0 0 10 0 0\ncpu0 1\n");
  const second = parseSteal("cpu  20 0 0 130 0 0 0 50 0 0\n");
  assert.equal(stealPercent(first, second), 40);
  assert.equal(stealPercent(undefined, second), undefined);
});

test("a restored machine is the same one, unless that is still there: then it gets an identity of its own", () => {
  const same = restoredRecord({ ...RECORD, snapshot: "x", backedUp: "y" }, "web", 1);
  assert.equal(same.id, RECORD.id);
  assert.deepEqual([same.state, same.bases, same.snapshot], ["stopped", [], undefined]);
  const other = restoredRecord(RECORD, "web2", 1, seededRandom(1));
  assert.notEqual(other.id, RECORD.id);
  assert.notEqual(other.uuid, RECORD.uuid);
  assert.notEqual(other.instanceId, RECORD.instanceId);
  assert.notEqual(other.spec.networks[0]!.macAddress, SPEC.networks[0]!.macAddress);
});

test("an OVA's descriptor lists every disk by file and size", () => {
  const text = descriptor("web", SPEC, ["web-disk0.vmdk"]);
  assert.match(text, /ovf:href="web-disk0\.vmdk"/);
  assert.match(text, /ovf:capacity="2147483648"/);
});

test("an appliance's descriptor is read as other programs write it", () => {
  const text = `<ovf:Envelope xmlns:ovf="u"><ovf:References><ovf:File ovf:href="a b-disk1.vmdk" ovf:id="f1" ovf:size="3"></ovf:File></ovf:References>
    <ovf:DiskSection><ovf:Disk ovf:capacity="8" ovf:capacityAllocationUnits="byte * 2^30" ovf:diskId="d1" ovf:fileRef="f1"/></ovf:DiskSection>
    <ovf:VirtualSystem><Item><rasd:ResourceType>3</rasd:ResourceType><rasd:VirtualQuantity>2</rasd:VirtualQuantity></Item>
    <Item><rasd:AllocationUnits>MegaBytes</rasd:AllocationUnits><rasd:ResourceType>4</rasd:ResourceType><rasd:VirtualQuantity>512</rasd:VirtualQuantity></Item>
    <vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="efi"/></ovf:VirtualSystem></ovf:Envelope>`;
  assert.deepEqual(parseDescriptor(text), {
    disks: ["a b-disk1.vmdk"],
    firmware: "uefi",
    cpus: 2,
    memoryBytes: 512 * MiB,
  });
  const own = descriptor("web", { ...SPEC, cpus: 3 }, ["web-disk0.vmdk"]);
  assert.deepEqual(parseDescriptor(own), {
    disks: ["web-disk0.vmdk"],
    firmware: "bios",
    cpus: 3,
    memoryBytes: SPEC.memoryBytes,
  });
  for (const bad of ["<a/>", text.replace("a b-disk1", "../../etc/x"), text.replaceAll("</Item>", "")])
    assert.throws(
      () => parseDescriptor(bad),
      (error) => hasCode(error, "invalidArgument"),
    );
});

test("DHCP gives a machine the address of its link, the way out, and the way to the name server", () => {
  const link = { macAddress: "52:54:00:00:00:01", addresses: ["172.18.0.2/20", "169.254.77.54/24"] };
  assert.equal(dhcpConfig({ macAddress: "52:54:00:00:00:01", addresses: ["fd00::2/64"] }, 0, "web"), undefined);
  const config = dhcpConfig({ ...link, gateway: "172.18.0.1", nameServers: ["169.254.77.53"], mtu: 1400 }, 0, "web")!;
  for (const line of [
    "static_lease 52:54:00:00:00:01 172.18.0.2",
    "option subnet 255.255.240.0",
    "option router 172.18.0.1",
    "option staticroutes 169.254.77.53/32 0.0.0.0,0.0.0.0/0 172.18.0.1",
    "option serverid 169.254.77.53",
    "option mtu 1400",
  ])
    assert.ok(config.split("\n").includes(line), line);
  assert.match(dhcpConfig(link, 1, "web")!, /^interface br1$/m);
  assert.match(onlyOwnRequests([link]), /iifname "br0" udp dport 67 ether saddr != 52:54:00:00:00:01 drop/);
});
