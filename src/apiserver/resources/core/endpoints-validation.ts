import type { k8s, KubeObject } from "../../../api/index.ts";
import type { FieldError } from "../../machinery/kind.ts";
import { isServersOwn, nonSpecialIp } from "../shared/addresses.ts";
import { each, label, namedIfSet, subdomain, validIp } from "../shared/checks.ts";
import { invalid, oneOf, required } from "../shared/field-errors.ts";
import { isPortNumber, isQualifiedName } from "../shared/names.ts";

function validateAddress(address: k8s.EndpointAddress, at: string, own: boolean): FieldError[] {
  return [
    ...validIp(`${at}.ip`, address.ip),
    ...label(`${at}.hostname`, address.hostname),
    ...subdomain(`${at}.nodeName`, address.nodeName),
    ...(own ? [] : nonSpecialIp(`${at}.ip`, address.ip ?? "")),
  ];
}

/** Upstream's validateEndpointSubsets. */
export const validateEndpoints = (object: KubeObject): FieldError[] =>
  each((object as k8s.Endpoints).subsets, "subsets", ({ addresses = [], notReadyAddresses = [], ports = [] }, at) => [
    ...(addresses.length + notReadyAddresses.length === 0
      ? [required(at, "must specify `addresses` or `notReadyAddresses`")]
      : []),
    ...each(addresses, `${at}.addresses`, (address, here) => validateAddress(address, here, isServersOwn(object))),
    ...each(notReadyAddresses, `${at}.notReadyAddresses`, (address, here) => validateAddress(address, here, false)),
    ...each(ports, `${at}.ports`, ({ name, port, protocol, appProtocol }, here) => [
      ...(ports.length > 1 && !name ? [required(`${here}.name`)] : label(`${here}.name`, name)),
      ...isPortNumber(port).map((detail) => invalid(`${here}.port`, port ?? 0, detail)),
      ...oneOf(`${here}.protocol`, protocol, ["SCTP", "TCP", "UDP"]),
      ...namedIfSet(`${here}.appProtocol`, appProtocol, isQualifiedName),
    ]),
  ]);
