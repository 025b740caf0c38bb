import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { failedPrecondition, invalidArgument, messageOf } from "../../../base/index.ts";
import type { OciSpec } from "../../../api/index.ts";

/** `--gpus`, `--device vendor/class=name`: what a container wants of whom. */
export interface DeviceRequest {
  readonly Driver?: string;
  readonly Count?: number;
  readonly DeviceIDs?: readonly string[] | null;
  readonly Capabilities?: readonly (readonly string[])[] | null;
}

/** A spec of the Container Device Interface, as vendors install it (https://github.com/cncf-tags/container-device-interface, SPEC.md). */
export interface CdiSpec {
  readonly kind: string;
  readonly devices?: ReadonlyArray<{ readonly name: string; readonly containerEdits?: CdiEdits }>;
  readonly containerEdits?: CdiEdits;
}

interface CdiEdits {
  readonly env?: readonly string[];
  readonly deviceNodes?: ReadonlyArray<{
    readonly path: string;
    readonly hostPath?: string;
    readonly type?: "b" | "c" | "u" | "p";
    readonly major?: number;
    readonly minor?: number;
    readonly fileMode?: number;
    readonly permissions?: string;
    readonly uid?: number;
    readonly gid?: number;
  }>;
  readonly mounts?: ReadonlyArray<{
    readonly hostPath: string;
    readonly containerPath: string;
    readonly type?: string;
    readonly options?: readonly string[];
  }>;
  readonly hooks?: readonly unknown[];
  readonly additionalGids?: readonly number[];
}

const CDI_FOLDERS = ["/etc/cdi", "/var/run/cdi"];

/** What a device node of the host is, for edits that name only its path. */
export type DescribeDevice = (file: string) => { type: "b" | "c"; major: number; minor: number };

/** Every name that the requests mean, `vendor/class=name`. Throws invalidArgument and failedPrecondition in dockerd's words. Pure. */
export function requestedDevices(requests: readonly DeviceRequest[]): string[] {
  return requests.flatMap((request) => {
    if (request.Driver !== "cdi") {
      const capabilities = `[${(request.Capabilities ?? []).map((set) => `[${set.join(" ")}]`).join(" ")}]`;
      throw failedPrecondition(
        `could not select device driver "${request.Driver ?? ""}" with capabilities: ${capabilities}`,
        { hint: "only devices of CDI specs (/etc/cdi) can be had: --device vendor.com/class=name" },
      );
    }
    return (request.DeviceIDs ?? []).map((id) => {
      if (!/^[^/=]+\/[^/=]+=[^/=]+$/.test(id)) throw invalidArgument(`invalid CDI device name "${id}"`);
      return id;
    });
  });
}

/** Puts what the specs say of each device into a container's spec. A spec's own edits count once. Pure but for `describe`. */
export function injectDevices(
  spec: OciSpec,
  names: readonly string[],
  specs: readonly CdiSpec[],
  describe: DescribeDevice,
): void {
  const unresolved = names.filter((name) => !find(specs, name));
  if (unresolved.length > 0)
    throw failedPrecondition(`CDI device injection failed: unresolvable CDI devices ${unresolved.join(", ")}`);
  const edited = new Set<CdiSpec>();
  for (const name of names) {
    const { from, device } = find(specs, name)!;
    if (!edited.has(from)) apply(spec, from.containerEdits ?? {}, describe);
    edited.add(from);
    apply(spec, device.containerEdits ?? {}, describe);
  }
}

function find(specs: readonly CdiSpec[], name: string) {
  const [kind, wanted] = name.split("=");
  for (const from of specs) {
    const device = from.kind === kind ? from.devices?.find((candidate) => candidate.name === wanted) : undefined;
    if (device) return { from, device };
  }
  return undefined;
}

function apply(spec: OciSpec, edits: CdiEdits, describe: DescribeDevice): void {
  if (edits.hooks?.length)
    throw failedPrecondition("CDI device injection failed: the device's spec has hooks, which berth does not run");
  spec.process.env.push(...(edits.env ?? []));
  for (const node of edits.deviceNodes ?? []) {
    const found = node.major === undefined ? describe(node.hostPath ?? node.path) : undefined;
    const type = node.type ?? found?.type ?? "c";
    const [major, minor] = [node.major ?? found!.major, node.minor ?? found?.minor ?? 0];
    const { path: target, fileMode, uid, gid } = node;
    (spec.linux.devices ??= []).push({ path: target, type, major, minor, fileMode, uid, gid });
    if (type === "b" || type === "c") {
      const access = node.permissions ?? "rwm";
      spec.linux.resources = {
        ...spec.linux.resources,
        devices: [...(spec.linux.resources?.devices ?? []), { allow: true, type, major, minor, access }],
      };
    }
  }
  for (const { hostPath, containerPath, type, options } of edits.mounts ?? [])
    spec.mounts.push({
      source: hostPath,
      destination: containerPath,
      type: type ?? "bind",
      options: [...(options ?? ["ro", "rbind"])],
    });
  const { user } = spec.process;
  if (edits.additionalGids?.length)
    user.additionalGids = [...new Set([...(user.additionalGids ?? []), ...edits.additionalGids])];
}

/** The specs installed on this machine, JSON and YAML; those that can't be read are told of and left out. */
export async function readCdiSpecs(
  warn: (message: string) => void,
  folders: readonly string[] = CDI_FOLDERS,
): Promise<CdiSpec[]> {
  const specs: CdiSpec[] = [];
  for (const file of folders.flatMap(filesOf)) {
    try {
      const text = readFileSync(file, "utf8");
      specs.push((file.endsWith(".json") ? JSON.parse(text) : (await import("js-yaml")).load(text)) as CdiSpec);
    } catch (error) {
      warn(`the CDI spec ${file} could not be read: ${messageOf(error)}`);
    }
  }
  return specs;
}

function filesOf(folder: string): string[] {
  try {
    return readdirSync(folder)
      .filter((name) => /\.(json|yaml|yml)$/.test(name))
      .sort()
      .map((name) => path.join(folder, name));
  } catch {
    return [];
  }
}
