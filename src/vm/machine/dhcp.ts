import { writeFile } from "node:fs/promises";
import path from "node:path";
import { networkWithin } from "../../host/index.ts";
import type { SeedInterface } from "../cloud-init/index.ts";
import type { MachineHost } from "./host.ts";
import { NAME_SERVER, serverAddress, type MachineNetwork } from "./network.ts";
import type { MachineRecord } from "./record.ts";

const CAPABILITIES = ["CAP_NET_RAW", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST"];
const LEASE_SECONDS = 24 * 3600;

/**
 * Tells guests that read no seed their addresses: a DHCP server (busybox' udhcpd) behind each link of a machine that boots an operating system of its own. It has one
 * address to give, to the machine's own hardware address; whoever else on the network asks is not heard.
 */
export async function serveAddresses(
  host: MachineHost,
  { id, spec }: MachineRecord,
  { netnsPath, interfaces }: MachineNetwork,
): Promise<void> {
  if (spec.firmware === "kernel") return;
  await networkWithin(netnsPath).nft.load(onlyOwnRequests(interfaces));
  for (const [index, link] of interfaces.entries()) {
    const config = dhcpConfig(link, index, spec.hostname);
    if (config === undefined) continue;
    const file = path.join(host.runFolder(id), `dhcp${index}.conf`);
    await writeFile(file, config, { mode: 0o644 });
    await host.startProgram(id, {
      id: `${id}-dhcp${index}`,
      args: ["/usr/bin/busybox", "udhcpd", "-f", file],
      logPath: path.join(host.records.folder(id), `dhcp${index}.log`),
      netnsPath,
      uid: 0,
      capabilities: CAPABILITIES,
      binds: [{ source: file }],
    });
  }
}

/** A server refuses who asks for an address that is not its own: it must not hear other machines of the network. Pure. */
export function onlyOwnRequests(interfaces: readonly SeedInterface[]): string {
  const rules = interfaces.map(
    ({ macAddress }, index) => `    iifname "br${index}" udp dport 67 ether saddr != ${macAddress} drop`,
  );
  const chain = ["  chain input {", "    type filter hook input priority 0;", ...rules, "  }"];
  const table = ["table ip berth_dhcp", "delete table ip berth_dhcp", "table ip berth_dhcp {", ...chain, "}", ""];
  return table.join("\n");
}

/** udhcpd's configuration for one link; undefined for a link without an IPv4 address. Pure. */
export function dhcpConfig(link: SeedInterface, index: number, hostname: string): string | undefined {
  const [address, prefix] = (link.addresses ?? []).find((cidr) => cidr.includes("."))?.split("/") ?? [];
  if (address === undefined) return undefined;
  const gateway = link.gateway?.includes(".") ? link.gateway : undefined;
  const servers = link.nameServers?.filter((server) => server.includes(".")) ?? [];
  // Clients that know option 121 take their default route from it alone.
  const routes = [
    ...(servers.includes(NAME_SERVER) ? [`${NAME_SERVER}/32 0.0.0.0`] : []),
    ...(gateway ? [`0.0.0.0/0 ${gateway}`] : []),
  ];
  return [
    `interface br${index}`,
    `start ${address}`,
    `end ${address}`,
    `static_lease ${link.macAddress} ${address}`,
    "auto_time 0",
    "lease_file /machine/leases",
    "pidfile /machine/udhcpd.pid",
    `option subnet ${netmask(Number(prefix))}`,
    `option lease ${LEASE_SECONDS}`,
    `option serverid ${serverAddress(index)}`,
    `option hostname ${hostname}`,
    ...(gateway ? [`option router ${gateway}`] : []),
    ...(servers.length > 0 ? [`option dns ${servers.join(" ")}`] : []),
    ...(routes.length > 1 ? [`option staticroutes ${routes.join(",")}`] : []),
    ...(link.mtu ? [`option mtu ${link.mtu}`] : []),
    "",
  ].join("\n");
}

function netmask(prefix: number): string {
  const bits = (0xffffffff << (32 - prefix)) >>> 0;
  return [24, 16, 8, 0].map((shift) => (bits >>> shift) & 0xff).join(".");
}
