import { addressText } from "../../host/index.ts";

/** The address in a reverse name (RFC 1035, 3.5; RFC 3596, 2.5); undefined for any other name. */
export function reverseName(name: string): string | undefined {
  const four = /^((?:\d{1,3}\.){4})in-addr\.arpa$/.exec(name);
  if (four) return four[1]!.slice(0, -1).split(".").reverse().join(".");
  const six = /^((?:[0-9a-f]\.){32})ip6\.arpa$/.exec(name);
  if (!six) return undefined;
  return addressText(Buffer.from(six[1]!.replaceAll(".", "").split("").reverse().join(""), "hex"));
}
