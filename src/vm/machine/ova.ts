import { readFile } from "node:fs/promises";
import path from "node:path";
import type { vm } from "../../api/index.ts";
import { failedPrecondition, GiB, invalidArgument, MiB } from "../../base/index.ts";
import { run } from "../../host/index.ts";
import { sha256File } from "../disk/index.ts";

const LONG_MS = 30 * 60_000;
const MAX_MEMBERS = 64;
const MAX_DESCRIPTOR_BYTES = 4 * MiB;
/** A member's name that means no other place. */
const PLAIN_NAME = /^[\w][\w .()+-]*$/;

/** What berth takes of an appliance's descriptor (DMTF DSP0243). */
export interface Appliance {
  /** Files of the disks, in their order. */
  readonly disks: readonly string[];
  readonly cpus?: number;
  readonly memoryBytes?: number;
  readonly firmware: "bios" | "uefi";
}

/** Unpacks an OVA into a folder, after a look at its members and their checksums. Throws invalidArgument for what is none, failedPrecondition for a damaged one. */
export async function unpackOva(
  file: string,
  folder: string,
  signal?: AbortSignal,
): Promise<{ readonly descriptor: Appliance; readonly disks: readonly string[] }> {
  const tar = async (...args: string[]) => {
    const { code, stdout, stderr } = await run(["/bin/tar", ...args], {
      timeoutMs: LONG_MS,
      ...(signal ? { signal } : {}),
    });
    if (code !== 0) throw invalidArgument(`${file} is no OVA: ${stderr.trim().split("\n").at(-1)}`);
    return stdout;
  };
  const members = (await tar("-tf", file)).trim().split("\n");
  const odd = members.find((name) => !PLAIN_NAME.test(name));
  if (odd !== undefined || members.length > MAX_MEMBERS)
    throw invalidArgument(`${file} has members that an OVA has not: ${odd ?? `${members.length} of them`}`);
  const ovf = members.find((name) => name.endsWith(".ovf"));
  if (ovf === undefined) throw invalidArgument(`${file} is no OVA: it has no descriptor (.ovf)`);
  await tar("--no-same-owner", "--no-same-permissions", "-xf", file, "-C", folder);
  const text = await readFile(path.join(folder, ovf), "utf8");
  if (text.length > MAX_DESCRIPTOR_BYTES) throw invalidArgument(`the descriptor of ${file} is too large`);
  const descriptor = parseDescriptor(text);
  for (const name of descriptor.disks)
    if (!members.includes(name)) throw invalidArgument(`${file} lacks the disk ${name} of its descriptor`);
  const manifest = members.find((name) => name.endsWith(".mf"));
  if (manifest !== undefined) await checkManifest(folder, await readFile(path.join(folder, manifest), "utf8"));
  return { descriptor, disks: descriptor.disks };
}

/** Checksums of other kinds than SHA-256 (older appliances have SHA-1) are not looked at. */
async function checkManifest(folder: string, text: string): Promise<void> {
  for (const [, name = "", expected = ""] of text.matchAll(/^SHA256 ?\(([^)]+)\) ?= ?([0-9a-fA-F]{64})\s*$/gm)) {
    if (!PLAIN_NAME.test(name)) throw invalidArgument(`the manifest names ${JSON.stringify(name)}`);
    const found = await sha256File(path.join(folder, name)).catch(() => "missing");
    if (found !== expected.toLowerCase())
      throw failedPrecondition(`the appliance is damaged: ${name} has the checksum ${found}, not ${expected}`, {
        hint: "get it again",
      });
  }
}

/** Throws invalidArgument when it names no disk. Pure. */
export function parseDescriptor(text: string): Appliance {
  const files = new Map(
    elements(text, "File").map(({ attributes }) => [attributes["id"] ?? "", attributes["href"] ?? ""]),
  );
  const disks = elements(text, "Disk")
    .map(({ attributes }) => files.get(attributes["fileRef"] ?? ""))
    .filter((name) => name !== undefined);
  if (disks.length === 0) throw invalidArgument("the appliance's descriptor names no disk");
  for (const name of disks)
    if (!PLAIN_NAME.test(name)) throw invalidArgument(`the appliance's descriptor names ${JSON.stringify(name)}`);
  const items = elements(text, "Item").map(({ content }) => content);
  const valueOf = (item: string | undefined, key: string) =>
    item === undefined ? undefined : plain(elements(item, key)[0]?.content.trim() ?? "");
  const ofType = (type: number) => items.find((item) => valueOf(item, "ResourceType") === String(type));
  const cpus = Number(valueOf(ofType(3), "VirtualQuantity") ?? 0);
  const memory = ofType(4);
  const memoryBytes = Number(valueOf(memory, "VirtualQuantity") ?? 0) * unitBytes(valueOf(memory, "AllocationUnits"));
  const efi = elements(text, "Config").some(
    ({ attributes }) => attributes["key"] === "firmware" && attributes["value"] === "efi",
  );
  return {
    disks,
    firmware: efi ? "uefi" : "bios",
    ...(Number.isInteger(cpus) && cpus > 0 ? { cpus } : {}),
    ...(Number.isInteger(memoryBytes) && memoryBytes > 0 ? { memoryBytes } : {}),
  };
}

/** `byte * 2^20`, or as older descriptors say it. */
function unitBytes(text = "byte * 2^20"): number {
  const power = /2\s*\^\s*(\d+)/.exec(text)?.[1];
  if (power !== undefined) return 2 ** Number(power);
  return /^(giga|GB)/i.test(text) ? GiB : MiB;
}

interface Element {
  readonly attributes: Readonly<Record<string, string>>;
  readonly content: string;
}

/** Elements of a name, whatever their namespace's prefix is. A descriptor is flat enough that no element of ours contains one of its own name. */
function elements(text: string, name: string): Element[] {
  const found: Element[] = [];
  for (const match of text.matchAll(new RegExp(`<((?:\\w+:)?${name})(\\s[^<>]*)?>`, "g"))) {
    const [tag, qualified, attributes = ""] = match;
    const start = match.index + tag.length;
    const end = tag.endsWith("/>") ? start : text.indexOf(`</${qualified}>`, start);
    if (end < 0) throw invalidArgument(`the appliance's descriptor does not end its ${name}`);
    const pairs = [...attributes.matchAll(/(?:\w+:)?(\w+)\s*=\s*"([^"]*)"/g)];
    found.push({
      attributes: Object.fromEntries(pairs.map(([, key, value]) => [key, plain(value!)])),
      content: text.slice(start, end),
    });
  }
  return found;
}

const ENTITIES: Readonly<Record<string, string>> = { lt: "<", gt: ">", quot: '"', apos: "'", amp: "&" };
const plain = (text: string) => text.replaceAll(/&(lt|gt|quot|apos|amp);/g, (_all, name: string) => ENTITIES[name]!);

/** Pure. Resource types are CIM's: 3 processors, 4 memory, 6 SCSI controller, 10 network, 17 disk. */
export function descriptor(name: string, spec: vm.VmSpec, disks: readonly string[]): string {
  const item = (fields: Record<string, string | number>) =>
    `      <Item>${Object.entries(fields)
      .map(([key, value]) => `<rasd:${key}>${value}</rasd:${key}>`)
      .join("")}</Item>`;
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    '<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData">',
    "  <References>",
    ...disks.map((file, index) => `    <File ovf:id="file${index}" ovf:href="${file}"/>`),
    "  </References>",
    "  <DiskSection><Info>Disks</Info>",
    ...disks.map(
      (_file, index) =>
        `    <Disk ovf:diskId="disk${index}" ovf:fileRef="file${index}" ovf:capacity="${spec.disks[index]!.sizeBytes}" ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>`,
    ),
    "  </DiskSection>",
    '  <NetworkSection><Info>Networks</Info><Network ovf:name="bridge"/></NetworkSection>',
    `  <VirtualSystem ovf:id="${name}"><Info>A machine of berth</Info><Name>${name}</Name>`,
    "    <VirtualHardwareSection><Info>Hardware</Info>",
    item({ ElementName: "processors", InstanceID: 1, ResourceType: 3, VirtualQuantity: spec.cpus }),
    item({
      AllocationUnits: "byte * 2^20",
      ElementName: "memory",
      InstanceID: 2,
      ResourceType: 4,
      VirtualQuantity: Math.round(spec.memoryBytes / MiB),
    }),
    item({ ElementName: "SCSI", InstanceID: 3, ResourceSubType: "lsilogic", ResourceType: 6 }),
    ...disks.map((_file, index) =>
      item({
        AddressOnParent: index,
        ElementName: `disk${index}`,
        HostResource: `ovf:/disk/disk${index}`,
        InstanceID: 10 + index,
        Parent: 3,
        ResourceType: 17,
      }),
    ),
    item({ Connection: "bridge", ElementName: "network", InstanceID: 30, ResourceSubType: "E1000", ResourceType: 10 }),
    ...(spec.firmware === "uefi"
      ? ['      <vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="efi"/>']
      : []),
    "    </VirtualHardwareSection>",
    "  </VirtualSystem>",
    "</Envelope>",
    "",
  ].join("\n");
}
