import type { k8s } from "../../api/index.ts";
import { ipFamilyOf, type IpFamily } from "../../base/index.ts";

/** What is wrong with a Service's wish for address families. */
export interface FamilyProblem {
  readonly field: string;
  readonly value: unknown;
  readonly detail: string;
}

/**
 * Fills `ipFamilyPolicy` and `ipFamilies` by what the cluster has (`cluster`, its main family first) and by the addresses asked for; on an update from two families to
 * one it takes the second away. Changes `spec`. https://kubernetes.io/docs/concepts/services-networking/dual-stack/#services
 */
export function settleFamilies(
  spec: k8s.ServiceSpec,
  old: k8s.ServiceSpec | undefined,
  cluster: readonly IpFamily[],
): FamilyProblem | undefined {
  const headless = spec.clusterIP === "None";
  if (old) giveUpSecond(spec, old);
  const problem = wrongWish(spec, headless, cluster);
  if (problem) return problem;
  const free = headless && Object.keys(spec.selector ?? {}).length === 0;
  spec.ipFamilyPolicy ??= free ? "RequireDualStack" : "SingleStack";
  const given = headless ? [] : (spec.clusterIPs ?? []).flatMap((address) => ipFamilyOf(address) ?? []);
  const families = [...(spec.ipFamilies?.length ? spec.ipFamilies : given)] as IpFamily[];
  if (families.length === 0) families.push(cluster[0]!);
  // Endpoints of a headless Service without a selector are somebody else's: both families may come.
  const possible: readonly IpFamily[] = free ? ["IPv4", "IPv6"] : cluster;
  const second = possible.find((family) => !families.includes(family));
  if (spec.ipFamilyPolicy !== "SingleStack" && families.length === 1 && second) families.push(second);
  spec.ipFamilies = families;
  return undefined;
}

/** Who changes the policy to SingleStack alone need not say which family goes. */
function giveUpSecond(spec: k8s.ServiceSpec, old: k8s.ServiceSpec): void {
  if (spec.ipFamilyPolicy !== "SingleStack" || old.ipFamilyPolicy === "SingleStack") return;
  if (String(spec.ipFamilies) === String(old.ipFamilies)) spec.ipFamilies = spec.ipFamilies?.slice(0, 1);
  if (String(spec.clusterIPs) === String(old.clusterIPs)) spec.clusterIPs = spec.clusterIPs?.slice(0, 1);
}

function wrongWish(spec: k8s.ServiceSpec, headless: boolean, cluster: readonly IpFamily[]): FamilyProblem | undefined {
  const { ipFamilyPolicy: policy, ipFamilies: families = [], clusterIPs = [], selector } = spec;
  const wrong = (field: string, value: unknown, detail: string) => ({ field: `spec.${field}`, value, detail });
  const foreign = headless && Object.keys(selector ?? {}).length === 0;
  if (policy === "RequireDualStack" && cluster.length < 2 && !foreign)
    return wrong("ipFamilyPolicy", policy, "this cluster is not configured for dual-stack services");
  for (const [index, family] of families.entries()) {
    if (!cluster.includes(family as IpFamily) && !foreign)
      return wrong(`ipFamilies[${index}]`, family, "not configured on this cluster");
    const address = headless ? undefined : clusterIPs[index];
    if (address && ipFamilyOf(address) && ipFamilyOf(address) !== family)
      return wrong(
        `clusterIPs[${index}]`,
        clusterIPs,
        `expected an ${family} value as indicated by \`ipFamilies[${index}]\``,
      );
  }
  if ((policy ?? "SingleStack") === "SingleStack") {
    const advice = (what: string) =>
      `must be RequireDualStack or PreferDualStack when multiple '${what}' are specified`;
    if (clusterIPs.length > 1) return wrong("ipFamilyPolicy", policy ?? "", advice("clusterIPs"));
    if (families.length > 1) return wrong("ipFamilyPolicy", policy ?? "", advice("ipFamilies"));
  }
  return undefined;
}
