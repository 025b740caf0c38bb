import assert from "node:assert/strict";
import { test } from "node:test";
import type { k8s } from "../../api/index.ts";
import type { IpFamily } from "../../base/index.ts";
import { settleFamilies } from "./service-families.ts";

const BOTH: readonly IpFamily[] = ["IPv4", "IPv6"];
const FOUR: readonly IpFamily[] = ["IPv4"];
const selector = { app: "web" };

function settled(spec: k8s.ServiceSpec, cluster = BOTH, old?: k8s.ServiceSpec) {
  const copy = structuredClone(spec);
  const problem = settleFamilies(copy, old, cluster);
  return problem ? `${problem.field}: ${problem.detail}` : [copy.ipFamilyPolicy, ...(copy.ipFamilies ?? [])].join(" ");
}

test("policies: one family unless more is asked for, and never more than the cluster has", () => {
  assert.equal(settled({ selector }), "SingleStack IPv4");
  assert.equal(settled({ selector, ipFamilyPolicy: "PreferDualStack" }), "PreferDualStack IPv4 IPv6");
  assert.equal(settled({ selector, ipFamilyPolicy: "PreferDualStack" }, FOUR), "PreferDualStack IPv4");
  assert.equal(settled({ selector, ipFamilyPolicy: "RequireDualStack" }), "RequireDualStack IPv4 IPv6");
  assert.match(settled({ selector, ipFamilyPolicy: "RequireDualStack" }, FOUR), /not configured for dual-stack/);
  assert.equal(settled({ selector, ipFamilies: ["IPv6"] }), "SingleStack IPv6");
  assert.match(settled({ selector, ipFamilies: ["IPv6"] }, FOUR), /ipFamilies\[0\]: not configured/);
  assert.match(settled({ selector, ipFamilies: ["IPv4", "IPv6"] }), /must be RequireDualStack or PreferDualStack/);
  const wanted = { selector, ipFamilyPolicy: "PreferDualStack", ipFamilies: ["IPv6"] } as const;
  assert.equal(settled({ ...wanted, ipFamilies: [...wanted.ipFamilies] }), "PreferDualStack IPv6 IPv4");
});

test("addresses say their family, and may not contradict", () => {
  assert.equal(settled({ selector, clusterIPs: ["fd00:96::5"] }), "SingleStack IPv6");
  assert.match(settled({ selector, clusterIPs: ["10.96.0.5"], ipFamilies: ["IPv6"] }), /expected an IPv6 value/);
});

test("headless: endpoints of somebody else may be of both families, whatever the cluster has", () => {
  assert.equal(settled({ clusterIP: "None" }, FOUR), "RequireDualStack IPv4 IPv6");
  assert.equal(settled({ clusterIP: "None", selector }, FOUR), "SingleStack IPv4");
});

test("back to one family: the second goes without being named", () => {
  const old = {
    selector,
    ipFamilyPolicy: "PreferDualStack",
    ipFamilies: ["IPv4", "IPv6"],
    clusterIPs: ["10.96.0.5", "fd00:96::5"],
  };
  assert.equal(settled({ ...old, ipFamilyPolicy: "SingleStack" }, BOTH, old), "SingleStack IPv4");
});
