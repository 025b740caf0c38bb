import { isIPv4, isIPv6 } from "node:net";

const uuid = /^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$/i;
const duration = /^[-+]?(\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h|d|w)((\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h|d|w))*$/;

/** The formats of texts that schemas and expressions name; one that is not here is not checked, upstream as here. */
const checks: Readonly<Record<string, (value: string) => boolean>> = {
  byte: (value) => /^[A-Za-z0-9+/]*={0,2}$/.test(value) && value.length % 4 === 0,
  cidr: isCidr,
  date: (value) => /^\d{4}-\d{2}-\d{2}$/.test(value) && !Number.isNaN(Date.parse(value)),
  "date-time": isDateTime,
  datetime: isDateTime,
  duration: (value) => value === "0" || duration.test(value),
  email: (value) => /^[^\s@]+@[^\s@]+$/.test(value),
  hostname: (value) => /^(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/i.test(value),
  ipv4: isIPv4,
  ipv6: isIPv6,
  mac: (value) => /^([0-9a-f]{2}[:-]){5}[0-9a-f]{2}$/i.test(value),
  uri: (value) => URL.canParse(value) || value.startsWith("/"),
  uuid: (value) => uuid.test(value),
};

function isDateTime(value: string): boolean {
  return (
    /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$/i.test(value) && !Number.isNaN(Date.parse(value))
  );
}

function isCidr(value: string): boolean {
  const [address = "", bits = ""] = value.split("/");
  if (!/^\d{1,3}$/.test(bits)) return false;
  return (isIPv4(address) && Number(bits) <= 32) || (isIPv6(address) && Number(bits) <= 128);
}

export const hasFormat = (value: string, format: string): boolean => checks[format]?.(value) ?? true;
