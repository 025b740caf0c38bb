import { invalidArgument } from "../../base/index.ts";

export interface SeedFacts {
  /** cloud-init acts once for each: a clone needs a new one. */
  readonly instanceId: string;
  readonly hostname: string;
  /** `#cloud-config`, a script, or any other form cloud-init knows; passed on as it is. */
  readonly userData?: string;
  /** For who gives no user-data: the login that is made. */
  readonly user?: { readonly name: string; readonly sshKeys: readonly string[]; readonly passwordHash?: string };
  readonly interfaces: readonly SeedInterface[];
  /** The machine comes up with another card and address each time; else the guest looks at its network once. */
  readonly networkEachBoot?: boolean;
}

export interface SeedInterface {
  /** By which the guest finds the interface, whatever it calls it. */
  readonly macAddress: string;
  /** With prefix length; none: DHCP. */
  readonly addresses?: readonly string[];
  readonly gateway?: string;
  readonly nameServers?: readonly string[];
  readonly searchDomains?: readonly string[];
  readonly mtu?: number;
}

const HOSTNAME = /^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$/;
const USER = /^[a-z_][a-z0-9_-]{0,31}$/;
const SSH_KEY = /^(ssh-(rsa|ed25519)|ecdsa-sha2-nistp(256|384|521)|sk-[a-z0-9@.-]+) [A-Za-z0-9+/=]+( [^\r\n]*)?$/;
const EACH_BOOT = `#cloud-config\n${yaml({ updates: { network: { when: ["boot"] } } })}`;
const MAX_USER_DATA_BYTES = 1024 * 1024;

/** The files of a NoCloud seed. JSON is YAML, so everything of ours is written as JSON. Throws invalidArgument. */
export function seedFiles(facts: SeedFacts): ReadonlyMap<string, string> {
  if (!HOSTNAME.test(facts.hostname))
    throw invalidArgument(`${JSON.stringify(facts.hostname)} is no hostname`, {
      hint: "1 to 63 letters, digits and -",
    });
  return new Map([
    ["meta-data", yaml({ "instance-id": facts.instanceId, "local-hostname": facts.hostname })],
    ["user-data", userData(facts)],
    ["network-config", yaml(networkConfig(facts.interfaces))],
    ...(facts.networkEachBoot ? [["vendor-data", EACH_BOOT] as const] : []),
  ]);
}

function userData({ userData: own, user, hostname }: SeedFacts): string {
  if (own !== undefined) {
    if (Buffer.byteLength(own) > MAX_USER_DATA_BYTES)
      throw invalidArgument(`user-data is larger than ${MAX_USER_DATA_BYTES} bytes`);
    return own;
  }
  const config: Record<string, unknown> = { hostname, manage_etc_hosts: true, ssh_pwauth: false };
  if (user) {
    if (!USER.test(user.name)) throw invalidArgument(`${JSON.stringify(user.name)} is no user name`);
    for (const key of user.sshKeys)
      if (!SSH_KEY.test(key))
        throw invalidArgument(`no ssh public key: ${key.slice(0, 40)}`, { hint: "give the text of a .pub file" });
    config["users"] = [
      {
        name: user.name,
        shell: "/bin/bash",
        sudo: "ALL=(ALL) NOPASSWD:ALL",
        ssh_authorized_keys: user.sshKeys,
        lock_passwd: user.passwordHash === undefined,
        ...(user.passwordHash === undefined ? {} : { passwd: user.passwordHash }),
      },
    ];
  }
  return `#cloud-config\n${yaml(config)}`;
}

function networkConfig(interfaces: readonly SeedInterface[]): unknown {
  const ethernets = interfaces.map((link, index) => {
    const dhcp = (link.addresses ?? []).length === 0;
    return [
      `net${index}`,
      {
        match: { macaddress: link.macAddress },
        dhcp4: dhcp,
        ...(dhcp ? {} : { addresses: link.addresses }),
        ...(link.gateway
          ? { routes: [{ to: link.gateway.includes(":") ? "::/0" : "0.0.0.0/0", via: link.gateway }] }
          : {}),
        ...(link.nameServers?.length
          ? {
              nameservers: {
                addresses: link.nameServers,
                ...(link.searchDomains?.length ? { search: link.searchDomains } : {}),
              },
            }
          : {}),
        ...(link.mtu ? { mtu: link.mtu } : {}),
      },
    ] as const;
  });
  return { version: 2, ethernets: Object.fromEntries(ethernets) };
}

function yaml(value: unknown): string {
  return JSON.stringify(value, null, 2) + "\n";
}
