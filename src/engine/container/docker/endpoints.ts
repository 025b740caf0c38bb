import { invalidArgument } from "../../../base/index.ts";
import type { DockerCreateBody, DockerEndpointSettings } from "../../../api/index.ts";
import type { Endpoint, EndpointSpec } from "../../network/index.ts";
import type { ContainerRecord } from "./record.ts";

/** The networks that a new container is to be on, by name as given. */
export function plannedEndpoints(body: DockerCreateBody, mode: string): Record<string, DockerEndpointSettings> {
  if (mode.startsWith("container:")) return {};
  const given = Object.entries(body.NetworkingConfig?.EndpointsConfig ?? {});
  const result: Record<string, DockerEndpointSettings> = {};
  // `default` and the mode's name are the same network; its settings come under either.
  const own = given.find(([name]) => name === mode || (mode === "bridge" && name === "default"));
  result[mode] = { ...own?.[1] };
  if (body.MacAddress && !result[mode].MacAddress) result[mode].MacAddress = body.MacAddress;
  if (mode === "host" || mode === "none") {
    if (given.some(([name]) => name !== mode && name !== "default"))
      throw invalidArgument(`conflicting options: cannot attach both user-defined and non-user-defined network-modes`);
    return result;
  }
  for (const [name, settings] of given) if (name !== own?.[0]) result[name] = { ...settings };
  return result;
}

export function endpointSpec(record: ContainerRecord, settings: DockerEndpointSettings): EndpointSpec {
  return {
    aliases: settings.Aliases ?? [],
    links: [...(settings.Links ?? []), ...(record.hostConfig.Links ?? [])],
    ipv4Address: settings.IPAMConfig?.IPv4Address || undefined,
    ipv6Address: settings.IPAMConfig?.IPv6Address || undefined,
    macAddress: settings.MacAddress || undefined,
    linkLocalAddresses: settings.IPAMConfig?.LinkLocalIPs ?? [],
    driverOpts: settings.DriverOpts ?? {},
    gwPriority: settings.GwPriority,
  };
}

/** An endpoint as inspect shows it; without a live one, what was asked for. */
export function endpointView(settings: DockerEndpointSettings, live: Endpoint | undefined): Record<string, unknown> {
  return {
    IPAMConfig: settings.IPAMConfig ?? null,
    Links: settings.Links ?? null,
    Aliases: settings.Aliases ?? null,
    DriverOpts: settings.DriverOpts ?? null,
    GwPriority: settings.GwPriority ?? 0,
    NetworkID: live?.networkId ?? settings.NetworkID ?? "",
    EndpointID: live?.endpointId ?? "",
    Gateway: live?.ipv4Gateway ?? "",
    IPAddress: live?.ipv4Address ?? "",
    MacAddress: live?.macAddress ?? settings.MacAddress ?? "",
    IPPrefixLen: live?.ipv4PrefixLength ?? 0,
    IPv6Gateway: live?.ipv6Gateway ?? "",
    GlobalIPv6Address: live?.ipv6Address ?? "",
    GlobalIPv6PrefixLen: live?.ipv6PrefixLength ?? 0,
    DNSNames: live?.dnsNames ?? null,
  };
}
