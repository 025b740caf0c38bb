import { isIPv4, isIPv6 } from "node:net";
import type { k8s, KubeObject } from "../../../api/index.ts";
import type { FieldError } from "../../machinery/kind.ts";
import { isServersOwn, nonSpecialIp } from "../shared/addresses.ts";
import { each, label, namedIfSet, subdomain } from "../shared/checks.ts";
import { duplicate, invalid, notSupported, oneOf, required, tooMany } from "../shared/field-errors.ts";
import { isDns1123Subdomain, isPortNumber, isQualifiedName } from "../shared/names.ts";

const maxEndpoints = 1000;
const maxAddresses = 100;
const maxPorts = 20_000;
const maxZoneHints = 8;
const addressTypes = ["FQDN", "IPv4", "IPv6"];

/** Upstream's ValidateEndpointSlice (pkg/apis/discovery/validation). */
export function validateSlice(object: KubeObject): FieldError[] {
  const { addressType, ports = [] } = object as k8s.EndpointSlice;
  const endpoints = (object as k8s.EndpointSlice).endpoints ?? [];
  const errors: FieldError[] = [];
  if (!addressType) errors.push(required("addressType"));
  else if (!addressTypes.includes(addressType)) errors.push(notSupported("addressType", addressType, addressTypes));
  return [
    ...errors,
    ...(endpoints.length > maxEndpoints
      ? [tooMany("endpoints", endpoints.length, maxEndpoints)]
      : each(endpoints, "endpoints", (endpoint, at) =>
          validateEndpoint(endpoint, isServersOwn(object) ? "" : addressType, at),
        )),
    ...validatePorts(ports),
  ];
}

function validateAddress(address: string, type: string, at: string): FieldError[] {
  if (type === "IPv4")
    return isIPv4(address) ? nonSpecialIp(at, address) : [invalid(at, address, "must be a valid IPv4 address")];
  if (type === "IPv6")
    return isIPv6(address) ? nonSpecialIp(at, address) : [invalid(at, address, "must be a valid IPv6 address")];
  if (type !== "FQDN") return [];
  if (address === "") return [required(at)];
  const wrong = isDns1123Subdomain(address.replace(/\.$/, ""));
  if (wrong.length > 0) return wrong.map((detail) => invalid(at, address, detail));
  return address.split(".").length < 2
    ? [invalid(at, address, "should be a domain with at least two segments separated by dots")]
    : [];
}

function validateEndpoint(endpoint: k8s.Endpoint, type: string, at: string): FieldError[] {
  const addresses = endpoint.addresses ?? [];
  const errors: FieldError[] = [];
  if (addresses.length === 0) errors.push(required(`${at}.addresses`, "must contain at least 1 address"));
  else if (addresses.length > maxAddresses) errors.push(tooMany(`${at}.addresses`, addresses.length, maxAddresses));
  else errors.push(...each(addresses, `${at}.addresses`, (address, here) => validateAddress(address, type, here)));
  const zones = endpoint.hints?.forZones ?? [];
  const seen = new Set<string>();
  return [
    ...errors,
    ...subdomain(`${at}.nodeName`, endpoint.nodeName),
    ...label(`${at}.hostname`, endpoint.hostname),
    ...(zones.length > maxZoneHints ? [tooMany(`${at}.hints.forZones`, zones.length, maxZoneHints)] : []),
    ...each(zones, `${at}.hints.forZones`, ({ name }, here) => {
      if (seen.has(name)) return [duplicate(`${here}.name`, name)];
      seen.add(name);
      return [];
    }),
  ];
}

function validatePorts(ports: readonly k8s.DiscoveryEndpointPort[]): FieldError[] {
  if (ports.length > maxPorts) return [tooMany("ports", ports.length, maxPorts)];
  const names = new Set<string>();
  return each(ports, "ports", ({ name = "", protocol, port, appProtocol }, at) => {
    const errors = label(`${at}.name`, name);
    if (names.has(name)) errors.push(duplicate(`${at}.name`, name));
    names.add(name);
    return [
      ...errors,
      ...oneOf(`${at}.protocol`, protocol, ["SCTP", "TCP", "UDP"]),
      ...(port === undefined ? [] : isPortNumber(port).map((detail) => invalid(`${at}.port`, port, detail))),
      ...namedIfSet(`${at}.appProtocol`, appProtocol, isQualifiedName),
    ];
  });
}
