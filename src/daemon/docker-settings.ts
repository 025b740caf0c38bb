import { readFileSync } from "node:fs";
import { invalidArgument } from "../base/index.ts";
import type { ContainerDefaults, EngineOptions } from "../engine/index.ts";

/** Keys of dockerd's daemon.json that concern containers and their networks, read as dockerd reads them. */
export interface DockerSettings {
  readonly containerDefaults: ContainerDefaults;
  /** `userns-remap`: default, user or user:group. */
  readonly usernsRemap?: string;
  readonly dnsSearch: readonly string[];
  readonly dnsOptions: readonly string[];
  /** The default bridge: `bip` (address and prefix length), `mtu`, `icc`, `ip-masq`, and `ip`, where ports are published that name no address. */
  readonly bridge: NonNullable<EngineOptions["bridge"]>;
  readonly transfers: NonNullable<EngineOptions["transfers"]>;
  /** Shown by `docker info`. */
  readonly labels: readonly string[];
  readonly debug: boolean;
}

export const NO_DOCKER_SETTINGS: DockerSettings = {
  containerDefaults: {},
  dnsSearch: [],
  dnsOptions: [],
  bridge: {},
  transfers: {},
  labels: [],
  debug: false,
};

type Reader = (value: unknown, key: string, settings: DockerSettings) => Partial<DockerSettings>;

const wrong = (key: string, expected: string) => invalidArgument(`configuration: "${key}" must be ${expected}`);
const text = (value: unknown, key: string): string => {
  if (typeof value === "string") return value;
  throw wrong(key, "a text");
};
const texts = (value: unknown, key: string): string[] => {
  if (Array.isArray(value) && value.every((item) => typeof item === "string")) return value;
  throw wrong(key, "a list of texts");
};
const truth = (value: unknown, key: string): boolean => {
  if (typeof value === "boolean") return value;
  throw wrong(key, "true or false");
};
const count = (value: unknown, key: string): number => {
  if (Number.isInteger(value) && Number(value) >= 0) return Number(value);
  throw wrong(key, "a number, 0 or more");
};
const oneOf = (value: unknown, key: string, ...choices: string[]): string => {
  if (typeof value === "string" && choices.includes(value)) return value;
  throw wrong(key, `one of ${choices.join(", ")}`);
};
const objectOf = (value: unknown, key: string): Record<string, unknown> => {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw wrong(key, "an object");
};

/** What is so with berth whatever a file says: asking for the contrary is refused, since it would not be had. */
const always = (value: unknown, key: string): void => {
  if (!truth(value, key))
    throw invalidArgument(`configuration: "${key}": false is not possible`, {
      hint: "networks and published ports are made by rules of berth's own nftables table; remove the key",
    });
};

/** `64M`, `1g`, or bytes. */
function bytes(value: unknown, key: string): number {
  if (typeof value === "number") return count(value, key);
  const [, number, unit = ""] = /^(\d+)\s*([kmgt]?)(?:i?b)?$/i.exec(text(value, key)) ?? [];
  if (number === undefined) throw wrong(key, 'a size, as in "64M"');
  return Number(number) * 1024 ** " kmgt".indexOf(unit.toLowerCase() || " ");
}

function ulimits(value: unknown, key: string): ContainerDefaults["ulimits"] {
  return Object.entries(objectOf(value, key)).map(([name, given]) => {
    const { Name = name, Soft, Hard } = objectOf(given, key);
    if (!Number.isInteger(Soft) || !Number.isInteger(Hard)) throw wrong(`${key}.${name}`, "an object of Soft and Hard");
    return { Name: String(Name), Soft: Number(Soft), Hard: Number(Hard) };
  });
}

/** A key that becomes a default of containers. */
const forContainers =
  (read: (value: unknown, key: string) => ContainerDefaults): Reader =>
  (value, key, settings) => ({ containerDefaults: { ...settings.containerDefaults, ...read(value, key) } });

/** A key about images on their way; 0 is no limit. */
const forTransfers =
  (read: (value: unknown, key: string) => DockerSettings["transfers"]): Reader =>
  (value, key, settings) => ({ transfers: { ...settings.transfers, ...read(value, key) } });

/** Accepted since existing files have it, without effect: it is so always, or concerns what berth has not. */
const accepted =
  (check: (value: unknown, key: string) => unknown): Reader =>
  (value, key) => {
    check(value, key);
    return {};
  };

/** Every key, by dockerd's name. */
export const DOCKER_KEYS: Readonly<Record<string, Reader>> = {
  "userns-remap": (value, key) => ({ usernsRemap: text(value, key) || undefined }),
  "dns-search": (value, key) => ({ dnsSearch: texts(value, key) }),
  "dns-opts": (value, key) => ({ dnsOptions: texts(value, key) }),
  bip: (value, key, { bridge }) => ({ bridge: { ...bridge, address: cidr(text(value, key), key) } }),
  mtu: (value, key, { bridge }) => ({ bridge: { ...bridge, mtu: count(value, key) || undefined } }),
  ip: (value, key, { bridge }) => ({ bridge: { ...bridge, hostBinding: text(value, key) || undefined } }),
  labels: (value, key) => ({ labels: texts(value, key) }),
  debug: (value, key) => ({ debug: truth(value, key) }),
  init: forContainers((value, key) => ({ init: truth(value, key) })),
  "init-path": forContainers((value, key) => ({ initPath: text(value, key) || undefined })),
  "log-driver": forContainers((value, key) => ({ logDriver: oneOf(value, key, "json-file", "local", "none") })),
  "log-opts": forContainers((value, key) => ({
    logOptions: Object.fromEntries(
      Object.entries(objectOf(value, key)).map(([name, option]) => [name, String(option)]),
    ),
  })),
  "default-ulimits": forContainers((value, key) => ({ ulimits: ulimits(value, key) })),
  "default-shm-size": forContainers((value, key) => ({ shmBytes: bytes(value, key) })),
  "default-ipc-mode": forContainers((value, key) => ({ ipcMode: oneOf(value, key, "private", "shareable") })),
  "default-cgroupns-mode": forContainers((value, key) => ({ cgroupnsMode: oneOf(value, key, "private", "host") })),
  "cgroup-parent": forContainers((value, key) => ({ cgroupParent: text(value, key) || undefined })),
  "no-new-privileges": forContainers((value, key) => ({ noNewPrivileges: truth(value, key) })),
  "seccomp-profile": forContainers((value, key) => ({ seccompProfile: seccompProfile(text(value, key), key) })),
  // Containers outlive the daemon always.
  "live-restore": accepted(truth),
  "shutdown-timeout": accepted(count),
  "exec-opts": accepted((value, key) => {
    for (const option of texts(value, key))
      if (option !== "native.cgroupdriver=cgroupfs") throw wrong(key, '["native.cgroupdriver=cgroupfs"]');
  }),
  "storage-driver": accepted((value, key) => oneOf(value, key, "", "overlay2")),
  iptables: accepted(always),
  ip6tables: accepted(always),
  "ip-forward": accepted(always),
  "ip-masq": (value, key, { bridge }) => ({ bridge: { ...bridge, masquerade: truth(value, key) } }),
  icc: (value, key, { bridge }) => ({ bridge: { ...bridge, icc: truth(value, key) } }),
  ipv6: accepted(truth),
  "userland-proxy": accepted(truth),
  experimental: accepted(truth),
  features: accepted(objectOf),
  "max-concurrent-downloads": forTransfers((value, key) => ({ downloads: count(value, key) || Infinity })),
  "max-concurrent-uploads": forTransfers((value, key) => ({ uploads: count(value, key) || Infinity })),
  "max-download-attempts": forTransfers((value, key) => ({ attempts: Math.max(1, count(value, key)) })),
};

/** `builtin`, `unconfined`, or the path of a profile, whose content is what counts. */
function seccompProfile(value: string, key: string): string | undefined {
  if (value === "" || value === "builtin" || value === "unconfined") return value || undefined;
  try {
    return readFileSync(value, "utf8");
  } catch (error) {
    throw invalidArgument(`configuration: "${key}": ${value} could not be read`, { cause: error });
  }
}

function cidr(address: string, key: string): string {
  if (!/^[0-9a-f.:]+\/\d{1,3}$/i.test(address))
    throw wrong(key, 'an address with its prefix length, as in "172.30.0.1/24"');
  return address;
}
