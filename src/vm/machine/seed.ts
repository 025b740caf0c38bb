import { mkdir, readFile } from "node:fs/promises";
import path from "node:path";
import { internal } from "../../base/index.ts";
import { run } from "../../host/index.ts";
import { seedFiles, type SeedInterface } from "../cloud-init/index.ts";
import { KERNEL_COMMAND_LINE } from "../hypervisor/argv.ts";
import { quote } from "../micro/agent.ts";
import type { MachineHost } from "./host.ts";
import type { MachineRecord } from "./record.ts";

/** The key pair by which `berth vm ssh` enters machines; made when first needed. */
export async function ownKey(host: MachineHost): Promise<{ file: string; publicKey: string }> {
  const folder = path.join(host.dataDir, "keys");
  const file = path.join(folder, "id_ed25519");
  const known = await readFile(`${file}.pub`, "utf8").catch(() => undefined);
  if (known !== undefined) return { file, publicKey: known.trim() };
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const { code, stderr } = await run([
    "/usr/bin/ssh-keygen",
    "-q",
    "-t",
    "ed25519",
    "-N",
    "",
    "-C",
    "berth",
    "-f",
    file,
  ]);
  if (code !== 0) throw internal(`ssh-keygen failed: ${stderr.trim()}`);
  return { file, publicKey: (await readFile(`${file}.pub`, "utf8")).trim() };
}

/** What the seed of a machine says at this start. */
export async function guestFiles(
  host: MachineHost,
  record: MachineRecord,
  interfaces: readonly SeedInterface[],
): Promise<ReadonlyMap<string, string>> {
  if (record.guest === "oci") return ociFiles(record, interfaces);
  const { publicKey } = await ownKey(host);
  return seedFiles({
    instanceId: record.instanceId,
    hostname: record.spec.hostname,
    ...(record.spec.userData === undefined ? {} : { userData: record.spec.userData }),
    user: { name: record.spec.user, sshKeys: [publicKey, ...record.spec.sshKeys] },
    interfaces,
    networkEachBoot: record.attached !== undefined,
  });
}

/** The same for the init of machines made from OCI images: two scripts. Pure. */
export function ociFiles({ spec }: MachineRecord, interfaces: readonly SeedInterface[]): ReadonlyMap<string, string> {
  const network = [`hostname ${spec.hostname}`, `echo ${spec.hostname} >/root/etc/hostname`];
  interfaces.forEach((link, index) => {
    network.push(
      `for d in /sys/class/net/*; do [ "$(cat $d/address)" = ${link.macAddress} ] && link=\${d##*/}; done`,
      `ip link set $link mtu ${link.mtu ?? 1500} up`,
      ...(link.addresses ?? []).map((cidr) => `ip addr replace ${cidr} dev $link`),
      ...(link.gateway && index === 0 ? [`ip route replace default via ${link.gateway}`] : []),
    );
  });
  const servers = interfaces.flatMap(({ nameServers = [] }) => nameServers);
  const domains = interfaces.flatMap(({ searchDomains = [] }) => searchDomains);
  const resolver = [
    ...(domains.length > 0 ? [`search ${domains.join(" ")}\noptions ndots:5\n`] : []),
    ...servers.map((server) => `nameserver ${server}\n`),
  ];
  network.push(
    `printf %s ${quote(resolver.join(""))} >/root/etc/resolv.conf`,
    `printf %s ${quote(`127.0.0.1 localhost\n127.0.1.1 ${spec.hostname}\n`)} >/root/etc/hosts`,
  );
  const { args, env, cwd, user } = spec.process!;
  const [uid, gid = uid] = user.split(":");
  const command = [
    "exec /bin/unshare",
    "--root=/root",
    quote(`--wd=${cwd || "/"}`),
    `--setgid=${gid}`,
    `--setuid=${uid}`,
    "--",
    ...args.map(quote),
  ];
  const exports = env.flatMap((entry) => {
    const at = entry.indexOf("=");
    const name = entry.slice(0, at);
    return /^[A-Za-z_]\w*$/.test(name) ? [`export ${name}=${quote(entry.slice(at + 1))}`] : [];
  });
  return new Map([
    ["network.sh", `${network.join("\n")}\n`],
    ["process.sh", `${[...exports, command.join(" ")].join("\n")}\n`],
  ]);
}

export function kernelCommandLine(record: MachineRecord): string {
  // Memory that is added while it runs is used at once, and so that it can be taken away again.
  const shared = `${KERNEL_COMMAND_LINE.replace("panic=-1", "panic=10")} memhp_default_state=online_movable`;
  return record.guest === "oci"
    ? `${shared} berth.guest=oci`
    : `${shared} systemd.show_status=0 net.ifnames=0 systemd.machine_id=${record.uuid.replaceAll("-", "")}`;
}
