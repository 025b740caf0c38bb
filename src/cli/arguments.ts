import { invalidArgument } from "../base/index.ts";

/** `host:5000/app:1` → repository and tag; `latest` when none is given, none for a digest. */
export function toImageReference(name: string): { repository: string; tag: string | undefined } {
  if (name.includes("@")) return { repository: name, tag: undefined };
  const colon = name.lastIndexOf(":");
  if (colon > name.lastIndexOf("/")) return { repository: name.slice(0, colon), tag: name.slice(colon + 1) };
  return { repository: name, tag: "latest" };
}

const UNITS: Readonly<Record<string, number>> = { "": 1, b: 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3 };

/** `512m`, `1g`, `1024`: as Docker's --memory. */
export function toBytes(text: string): number {
  const match = /^(\d+(?:\.\d+)?)([bkmg]?)b?$/i.exec(text);
  if (!match) throw invalidArgument(`invalid size "${text}"`, { hint: "for example 512m or 1g" });
  return Math.floor(Number(match[1]) * UNITS[match[2]!.toLowerCase()]!);
}

export interface Published {
  readonly exposed: Record<string, object>;
  readonly bindings: Record<string, { HostIp: string; HostPort: string }[]>;
}

/** `[address:][port:]port[/protocol]`, the port inside last; ranges of equal length on both sides. */
export function publishedPorts(values: readonly string[]): Published {
  const result: Published = { exposed: {}, bindings: {} };
  for (const value of values) {
    const match =
      /^(?:(\[[0-9a-f:.]+\]|\d+(?:\.\d+){3}):)?(?:(\d+(?:-\d+)?)?:)?(\d+(?:-\d+)?)(?:\/(tcp|udp|sctp))?$/i.exec(value);
    if (!match)
      throw invalidArgument(`invalid port "${value}"`, { hint: "for example 8080:80, 127.0.0.1:8080:80 or 53:53/udp" });
    const [, address = "", outside, inside = "", protocol = "tcp"] = match;
    const insidePorts = range(inside, value);
    const outsidePorts = outside === undefined ? [] : range(outside, value);
    if (outside !== undefined && outsidePorts.length !== insidePorts.length) {
      throw invalidArgument(`invalid port "${value}": the ranges differ in length`);
    }
    insidePorts.forEach((port, at) => {
      const key = `${port}/${protocol.toLowerCase()}`;
      result.exposed[key] = {};
      const HostPort = outsidePorts[at] === undefined ? "" : String(outsidePorts[at]);
      (result.bindings[key] ??= []).push({ HostIp: address.replace(/^\[|\]$/g, ""), HostPort });
    });
  }
  return result;
}

function range(text: string, whole: string): number[] {
  const [first = 0, last = first] = text.split("-").map(Number);
  if (first < 1 || last > 65_535 || last < first)
    throw invalidArgument(`invalid port "${whole}": ports are 1 to 65535`);
  return Array.from({ length: last - first + 1 }, (_, at) => first + at);
}
