import { invalidArgument } from "../../base/index.ts";
import type { Endpoint } from "./types.ts";

const OPTION = "com.docker.network.endpoint.sysctls";

/**
 * `--network name=x,driver-opt=com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.log_martians=1,…`: files below /proc/sys with their values, for
 * the endpoint's own interface only. Throws invalidArgument in dockerd's sense for any other. Pure.
 */
export function endpointSysctls({
  spec,
  interfaceName,
}: Pick<Endpoint, "spec" | "interfaceName">): Array<[string, string]> {
  const settings = spec.driverOpts?.[OPTION];
  if (!settings) return [];
  return settings.split(",").map((setting) => {
    const [, family, type, name, value] = /^net\.(ipv4|ipv6|mpls)\.(\w+)\.IFNAME\.(\w+)=(.*)$/.exec(setting) ?? [];
    if (value === undefined) {
      throw invalidArgument(`invalid endpoint sysctl setting "${setting}"`, {
        hint: "as in net.ipv4.conf.IFNAME.log_martians=1",
      });
    }
    return [`net/${family}/${type}/${interfaceName}/${name}`, value];
  });
}
