import ipaddr from "ipaddr.js";
import type { KubeObject } from "../../../api/index.ts";
import type { FieldError } from "../../machinery/kind.ts";
import { invalid } from "./field-errors.ts";

/** Upstream's ValidateNonSpecialIP: addresses that no endpoint can have, since they mean something of their own. */
export function nonSpecialIp(at: string, ip: string): FieldError[] {
  if (!ipaddr.isValid(ip)) return [invalid(at, ip, "must be a valid IP address")];
  const parsed = ipaddr.process(ip);
  const range = parsed.range();
  if (range === "unspecified") return [invalid(at, ip, `may not be unspecified (${ip})`)];
  if (range === "loopback") return [invalid(at, ip, "may not be in the loopback range (127.0.0.0/8, ::1/128)")];
  if (range === "linkLocal") return [invalid(at, ip, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")];
  const multicast =
    parsed.kind() === "ipv4" ? parsed.toString().startsWith("224.0.0.") : /^ff.2:/i.test(parsed.toString());
  return multicast ? [invalid(at, ip, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")] : [];
}

/** The API server's own endpoints: on a developer's machine it may well answer at a loopback address. */
export const isServersOwn = ({ metadata }: KubeObject): boolean =>
  metadata.namespace === "default" && metadata.name === "kubernetes";

/** Whether `inner` is a true part of `outer`. Both must be CIDRs. */
export function isStrictSubset(inner: string, outer: string): boolean {
  const [address, length] = ipaddr.parseCIDR(inner);
  const [around, outerLength] = ipaddr.parseCIDR(outer);
  return address.kind() === around.kind() && length > outerLength && address.match(around as never, outerLength);
}
