import type { vm } from "../../api/index.ts";
import { GUEST_DNS, type NetworkService } from "../../engine/index.ts";
import type { SeedInterface } from "../cloud-init/index.ts";
import { allowLoopbackBehind, indexOf, leadToTap, readNetwork, within, type GuestNetwork } from "../network/index.ts";
import { VM_UID } from "../micro/root.ts";
import type { MachineRecord } from "./record.ts";

/** The guest asks here for names; it is led to the engine's resolver on the namespace's loopback. */
export const NAME_SERVER = GUEST_DNS;
/** The guest's own address beside the name server's: no route needs to be told. */
const NAME_CLIENT = "169.254.77.54/24";
const BRIDGE_MAC = "02:be:77:00:00:53";
const EMBEDDED_DNS = "127.0.0.11";

/** What a running machine has of the engine's networks. */
export interface MachineNetwork {
  readonly netnsPath: string;
  readonly taps: ReadonlyArray<{ readonly name: string; readonly macAddress: string }>;
  readonly addresses: readonly vm.VmAddress[];
  readonly ports: MachineRecord["publishedPorts"];
  readonly interfaces: readonly SeedInterface[];
}

/** Connects a machine that is about to start to its networks, as a container would be, and puts a tap behind each link. Leaves nothing when it fails. */
export async function connectMachine(networks: NetworkService, record: MachineRecord): Promise<MachineNetwork> {
  const { id, name, spec } = record;
  await networks.destroySandbox(sandboxId(id));
  const sandbox = await networks.createSandbox({ id: sandboxId(id), name, hostname: spec.hostname });
  try {
    for (const link of spec.networks) await networks.connect(sandbox.spec.id, link.network, endpoint(record, link));
    const endpoints = networks.sandbox(sandbox.spec.id)!.endpoints;
    const published = await networks.publish(sandbox.spec.id, spec.ports.map(binding));
    const guest = readNetwork(sandbox.netnsPath);
    makeTaps(sandbox.netnsPath, guest);
    await networks.settled(sandbox.spec.id);
    return {
      netnsPath: sandbox.netnsPath,
      taps: guest.links.map(({ macAddress }, index) => ({ name: tapName(index), macAddress })),
      addresses: endpoints.map(({ networkName, macAddress, ipv4Address }) => ({
        network: networkName,
        macAddress,
        ipv4Address,
      })),
      ports: published.map((port) => ({
        guestPort: port.containerPort,
        protocol: port.protocol as "tcp" | "udp",
        hostAddress: port.hostAddress,
        hostPort: port.hostPort,
      })),
      interfaces: seedInterfaces(guest, nameServers(networks.sandbox(sandbox.spec.id)!.resolvConf)),
    };
  } catch (error) {
    await networks.destroySandbox(sandbox.spec.id);
    throw error;
  }
}

/** The engine's network sandbox of a machine. */
export const sandboxId = (id: string): string => `vm-${id}`;
export const tapName = (index: number): string => `tap${index}`;

function endpoint(record: MachineRecord, link: vm.VmNetworkSpec) {
  return {
    macAddress: link.macAddress,
    ...(link.ipv4Address ? { ipv4Address: link.ipv4Address } : {}),
    aliases: [record.spec.hostname],
  };
}

function binding(port: vm.VmPort) {
  return {
    containerPort: port.guestPort,
    protocol: port.protocol,
    ...(port.hostAddress ? { hostAddress: port.hostAddress } : {}),
    ...(port.hostPort ? { hostPortFirst: port.hostPort, hostPortLast: port.hostPort } : {}),
  };
}

/** Behind each link of the namespace a bridge with a tap, the link's addresses left to the guest. */
export function makeTaps(netnsPath: string, network: GuestNetwork): void {
  within(netnsPath, (netlink) => {
    netlink.changeLink(indexOf(netlink, "lo"), { up: true });
    network.links.forEach((link, number) => {
      const tap = { name: tapName(number), uid: VM_UID };
      const bridge = leadToTap(netlink, link, number, { bridgeMac: BRIDGE_MAC, tap });
      // Who serves a guest on a bridge needs an address there, and the way back.
      netlink.addAddress(bridge, `${serverAddress(number)}/24`);
      for (const cidr of link.addresses.filter((address) => address.includes(".")))
        netlink.replaceRoute({ destination: `${cidr.split("/")[0]}/32`, link: bridge });
    });
    if (network.links.length > 0) allowLoopbackBehind("br0");
  });
}

/** The guest's network in cloud-init's terms. Pure. */
export function seedInterfaces(network: GuestNetwork, servers: readonly string[]): SeedInterface[] {
  return network.links.map((link, index) => {
    const gateway = network.routes.find(
      (route) => route.link === link.name && route.destination === "0.0.0.0/0",
    )?.gateway;
    return {
      macAddress: link.macAddress,
      addresses: [...link.addresses, ...(index === 0 ? [NAME_CLIENT] : [])],
      ...(gateway ? { gateway } : {}),
      ...(index === 0 && servers.length > 0 ? { nameServers: servers } : {}),
      ...(link.mtu === 1500 ? {} : { mtu: link.mtu }),
    };
  });
}

/** berth's own address on the bridge behind a link; on the first it serves names. */
export const serverAddress = (link: number): string => NAME_SERVER.replace(".77.", `.${77 + link}.`);

/** Whom the guest asks for names, from what a container would be told. Pure. */
export function nameServers(resolvConf: string): string[] {
  const found = [...resolvConf.matchAll(/^nameserver (\S+)$/gm)].map((match) => match[1]!);
  return found.map((server) => (server === EMBEDDED_DNS ? NAME_SERVER : server));
}
