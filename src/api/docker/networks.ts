import type { DockerEndpointSettings } from "./containers.ts";

/** POST /networks/create. */
export interface DockerNetworkCreateBody {
  Name?: string;
  Driver?: string;
  Scope?: string;
  Internal?: boolean;
  Attachable?: boolean;
  Ingress?: boolean;
  ConfigOnly?: boolean;
  ConfigFrom?: { Network?: string } | null;
  IPAM?: DockerIpam | null;
  EnableIPv4?: boolean;
  EnableIPv6?: boolean;
  Options?: Record<string, string> | null;
  Labels?: Record<string, string> | null;
}

export interface DockerIpam {
  Driver?: string;
  Options?: Record<string, string> | null;
  Config?: DockerIpamConfig[] | null;
}

export interface DockerIpamConfig {
  Subnet?: string;
  IPRange?: string;
  Gateway?: string;
  AuxiliaryAddresses?: Record<string, string>;
}

/** GET /networks and /networks/{id}. */
export interface DockerNetwork {
  Name: string;
  Id: string;
  /** RFC 3339 with nanoseconds. */
  Created: string;
  Scope: "local";
  Driver: string;
  EnableIPv4: boolean;
  EnableIPv6: boolean;
  IPAM: DockerIpam;
  Internal: boolean;
  Attachable: boolean;
  Ingress: boolean;
  ConfigFrom: { Network: string };
  ConfigOnly: boolean;
  Containers: Record<string, DockerNetworkContainer>;
  Options: Record<string, string>;
  Labels: Record<string, string>;
}

export interface DockerNetworkContainer {
  Name: string;
  EndpointID: string;
  MacAddress: string;
  /** With the prefix length, or empty. */
  IPv4Address: string;
  IPv6Address: string;
}

/** POST /networks/{id}/connect. */
export interface DockerNetworkConnectBody {
  Container?: string;
  EndpointConfig?: DockerEndpointSettings | null;
}

/** POST /networks/{id}/disconnect. */
export interface DockerNetworkDisconnectBody {
  Container?: string;
  Force?: boolean;
}
