export type { PolicyPod } from "./plan.ts";
export { NetworkPolicies, type NetworkPoliciesOptions } from "./policies.ts";
