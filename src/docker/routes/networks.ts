import { failedPrecondition, hasCode, invalidArgument, permissionDenied, rfc3339Nano } from "../../base/index.ts";
import type {
  DockerEndpointSettings,
  DockerIpam,
  DockerNetwork,
  DockerNetworkConnectBody,
  DockerNetworkCreateBody,
  DockerNetworkDisconnectBody,
} from "../../api/index.ts";
import type { Network, NetworkService, NetworkSpec } from "../../engine/index.ts";
import type { Filters } from "../query.ts";
import { empty, json, type Route } from "../route.ts";
import { labelsMatch, untilMs } from "./resource-filters.ts";

/** Connecting a container is its owner's business: a stopped one keeps it for its next start. */
export interface NetworkContainers {
  connectNetwork(container: string, network: string, settings?: DockerEndpointSettings): Promise<void>;
  disconnectNetwork(container: string, network: string): Promise<void>;
}

const LIST_FILTERS = ["dangling", "driver", "id", "label", "name", "scope", "type"];
const PRUNE_FILTERS = ["label", "label!", "until"];
const PREDEFINED = new Set(["bridge", "host", "none", "default"]);

export function networkRoutes(networks: NetworkService, containers: NetworkContainers, nowMs: () => number): Route[] {
  const shown = (network: Network) => networkView(networks, network, true);
  return [
    {
      method: "GET",
      path: "/networks",
      handle: ({ query }) => {
        const accept = networkFilter(networks, query.filters(LIST_FILTERS));
        return json(
          networks
            .list()
            .filter(accept)
            .map((network) => networkView(networks, network, false)),
        );
      },
    },
    {
      method: "POST",
      path: "/networks/create",
      handle: async (request) => json(await create(networks, await request.json<DockerNetworkCreateBody>()), 201),
    },
    {
      method: "POST",
      path: "/networks/prune",
      handle: async ({ query }) => {
        const accept = pruneFilter(query.filters(PRUNE_FILTERS), nowMs());
        const removed = await networks.prune(accept);
        return json({ NetworksDeleted: removed.length > 0 ? removed.map((network) => network.name) : null });
      },
    },
    { method: "GET", path: "/networks/{id}", handle: ({ params }) => json(shown(networks.get(params["id"]!))) },
    {
      method: "DELETE",
      path: "/networks/{id}",
      handle: async ({ params }) => {
        await networks.remove(params["id"]!);
        return empty();
      },
    },
    {
      method: "POST",
      path: "/networks/{id}/connect",
      handle: async (request) => {
        const body = await request.json<DockerNetworkConnectBody>();
        const { id } = networks.get(request.params["id"]!);
        await asForbidden(containers.connectNetwork(containerOf(body), id, body.EndpointConfig ?? {}));
        return empty(200);
      },
    },
    {
      method: "POST",
      path: "/networks/{id}/disconnect",
      handle: async (request) => {
        const body = await request.json<DockerNetworkDisconnectBody>();
        const { id } = networks.get(request.params["id"]!);
        try {
          await containers.disconnectNetwork(containerOf(body), id);
        } catch (error) {
          if (!body.Force || !hasCode(error, "notFound", "failedPrecondition")) throw error;
        }
        return empty(200);
      },
    },
  ];
}

function containerOf(body: { Container?: string }): string {
  if (!body.Container) throw invalidArgument("the body names no container");
  return body.Container;
}

/** Docker answers 403 to a second endpoint on the same network. */
async function asForbidden(work: Promise<void>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (hasCode(error, "alreadyExists")) throw permissionDenied((error as Error).message, { cause: error });
    throw error;
  }
}

async function create(
  networks: NetworkService,
  body: DockerNetworkCreateBody,
): Promise<{ Id: string; Warning: string }> {
  if (PREDEFINED.has(body.Name ?? "")) {
    throw permissionDenied(`operation is not permitted on predefined ${body.Name} network`);
  }
  if (body.Ingress || body.Scope === "swarm") {
    throw failedPrecondition("this node is not a swarm manager: ingress and swarm networks need one", {
      hint: "make a local network, without --ingress and --scope",
    });
  }
  const network = await networks.create(specOf(body));
  return { Id: network.id, Warning: "" };
}

function specOf(body: DockerNetworkCreateBody): NetworkSpec {
  return {
    name: body.Name ?? "",
    driver: body.Driver || "bridge",
    internal: body.Internal ?? false,
    attachable: body.Attachable ?? false,
    enableIPv4: body.EnableIPv4 ?? true,
    enableIPv6: body.EnableIPv6 ?? false,
    options: body.Options ?? {},
    labels: body.Labels ?? {},
    configOnly: body.ConfigOnly ?? false,
    ...(body.ConfigFrom?.Network && { configFrom: body.ConfigFrom.Network }),
    ipam: {
      driver: body.IPAM?.Driver || "default",
      options: body.IPAM?.Options ?? {},
      config: (body.IPAM?.Config ?? []).map((pool) => ({
        subnet: pool.Subnet || undefined,
        ipRange: pool.IPRange || undefined,
        gateway: pool.Gateway || undefined,
        auxiliaryAddresses: pool.AuxiliaryAddresses,
      })),
    },
  };
}

/** A network as `docker network inspect` shows it; lists leave the containers out. */
function networkView(networks: NetworkService, network: Network, withContainers: boolean): DockerNetwork {
  const containers = withContainers ? networks.endpointsOf(network.id) : [];
  const prefixed = (address: string, length: number) => (address ? `${address}/${length}` : "");
  return {
    Name: network.name,
    Id: network.id,
    Created: rfc3339Nano(network.createdMs),
    Scope: "local",
    Driver: network.driver,
    EnableIPv4: network.enableIPv4,
    EnableIPv6: network.enableIPv6,
    IPAM: ipamView(network),
    Internal: network.internal,
    Attachable: network.attachable,
    Ingress: false,
    ConfigFrom: { Network: network.configFrom ?? "" },
    ConfigOnly: network.template !== undefined,
    Containers: Object.fromEntries(
      containers.map(({ sandbox, endpoint }) => [
        sandbox.spec.id,
        {
          Name: sandbox.spec.name,
          EndpointID: endpoint.endpointId,
          MacAddress: endpoint.macAddress,
          IPv4Address: prefixed(endpoint.ipv4Address, endpoint.ipv4PrefixLength),
          IPv6Address: prefixed(endpoint.ipv6Address, endpoint.ipv6PrefixLength),
        },
      ]),
    ),
    Options: { ...network.options },
    Labels: { ...network.labels },
  };
}

function ipamView(network: Network): DockerIpam {
  const config = (network.template?.ipam?.config ?? network.pools).map((pool) => ({
    Subnet: pool.subnet,
    ...(pool.ipRange && { IPRange: pool.ipRange }),
    ...(pool.gateway && { Gateway: pool.gateway }),
    ...(pool.auxiliaryAddresses && { AuxiliaryAddresses: { ...pool.auxiliaryAddresses } }),
  }));
  return {
    Driver: network.ipamDriver,
    Options: network.predefined ? null : { ...network.ipamOptions },
    Config: config.length > 0 || !network.predefined ? config : null,
  };
}

/** Values of one filter are alternatives, filters must all hold. `id` and `name` match parts, as Docker's do. */
function networkFilter(networks: NetworkService, filters: Filters): (network: Network) => boolean {
  const some = (name: string, test: (value: string) => boolean) => {
    const values = filters.get(name);
    return values === undefined || values.some(test);
  };
  for (const value of filters.get("type") ?? []) {
    if (value !== "custom" && value !== "builtin") throw invalidArgument(`invalid filter: 'type'='${value}'`);
  }
  const dangling = filters.get("dangling")?.map((value) => isTrue("dangling", value));
  return (network) =>
    some("driver", (value) => network.driver === value) &&
    some("id", (value) => network.id.includes(value)) &&
    some("name", (value) => network.name.includes(value)) &&
    some("scope", (value) => value === "local") &&
    some("type", (value) => (value === "builtin") === network.predefined) &&
    labelsMatch(filters.get("label"), network.labels) &&
    (dangling === undefined || dangling.includes(!network.predefined && networks.endpointsOf(network.id).length === 0));
}

export function isTrue(name: string, value: string): boolean {
  if (value === "true" || value === "1") return true;
  if (value === "false" || value === "0") return false;
  throw invalidArgument(`invalid filter '${name}=${value}'`);
}

function pruneFilter(filters: Filters, nowMs: number): (network: Network) => boolean {
  const limit = untilMs(filters, nowMs);
  return (network) =>
    (limit === undefined || network.createdMs < limit) &&
    labelsMatch(filters.get("label"), network.labels) &&
    !(filters.get("label!") && labelsMatch(filters.get("label!"), network.labels));
}
