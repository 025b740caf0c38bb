import type { k8s } from "../../api/index.ts";
import type { RbacAuthorizer } from "../authz/index.ts";
import { uncovered } from "../authz/rules.ts";
import type { ClusterState } from "../cluster-state.ts";
import type { Admission, AdmissionRequest, Authorizer } from "../machinery/pipeline.ts";
import { deepEqual } from "../resources/shared/field-errors.ts";
import { isAllowed, refuse } from "./plugin.ts";

const group = "rbac.authorization.k8s.io";

/**
 * Nobody grants what they don't have (https://kubernetes.io/docs/reference/access-authn-authz/rbac/#privilege-escalation-prevention-and-bootstrapping):
 * roles hold only rules that their author holds, bindings give only roles whose rules the author holds, unless they may `escalate` or
 * `bind`.
 */
export function escalationPrevention(
  state: ClusterState,
  rbac: RbacAuthorizer,
  authorizers: readonly Authorizer[],
): Admission {
  return {
    async validate(request) {
      const { resource, operation, user } = request;
      if (resource.group !== group || operation === "DELETE" || user.groups.includes("system:masters")) return;
      if (resource.resource === "roles" || resource.resource === "clusterroles") await checkRole(request);
      else await checkBinding(request);
    },
  };

  async function checkRole(request: AdmissionRequest): Promise<void> {
    const role = request.object as k8s.ClusterRole;
    const old = request.oldObject as k8s.ClusterRole | undefined;
    if (old !== undefined && deepEqual(role.rules, old.rules) && deepEqual(role.aggregationRule, old.aggregationRule))
      return;
    if (await may(request, "escalate", request.resource.resource, role.metadata.name ?? "")) return;
    if (role.aggregationRule !== undefined && !deepEqual(role.aggregationRule, old?.aggregationRule))
      await assertHolds(request, [
        { verbs: ["*"], apiGroups: ["*"], resources: ["*"] },
        { verbs: ["*"], nonResourceURLs: ["*"] },
      ]);
    await assertHolds(request, role.rules ?? []);
  }

  async function checkBinding(request: AdmissionRequest): Promise<void> {
    const binding = request.object as k8s.RoleBinding;
    const old = request.oldObject as k8s.RoleBinding | undefined;
    if (old !== undefined && deepEqual(binding.subjects, old.subjects) && deepEqual(binding.roleRef, old.roleRef))
      return;
    const { kind, name } = binding.roleRef;
    if (await may(request, "bind", kind === "ClusterRole" ? "clusterroles" : "roles", name)) return;
    const role =
      kind === "ClusterRole"
        ? await state.clusterRoles.find(name)
        : await state.roles.find(`${request.namespace}/${name}`);
    if (role === undefined)
      throw refuse(request, `user "${request.user.name}" cannot bind ${kind} "${name}": it is not found`);
    await assertHolds(request, role.rules ?? []);
  }

  function may({ user, namespace }: AdmissionRequest, verb: string, resource: string, name: string): Promise<boolean> {
    return isAllowed(authorizers, { user, verb, group, resource, name, namespace });
  }

  async function assertHolds(request: AdmissionRequest, wanted: readonly k8s.PolicyRule[]): Promise<void> {
    const { user, namespace } = request;
    const missing = uncovered(wanted, await rbac.rulesFor(user, namespace));
    if (missing.length === 0) return;
    const groups = user.groups.map((name) => JSON.stringify(name)).join(" ");
    const lines = missing.map((rule) => `\n${describe(rule)}`).join("");
    throw refuse(
      request,
      `user "${user.name}" (groups=[${groups}]) is attempting to grant RBAC permissions not currently held:${lines}`,
    );
  }
}

const list = (values: readonly string[]): string => `[${values.map((value) => JSON.stringify(value)).join(" ")}]`;

/** `{APIGroups:["apps"], Resources:["deployments"], Verbs:["get"]}` */
function describe({ apiGroups, resources, resourceNames, nonResourceURLs, verbs }: k8s.PolicyRule): string {
  const parts: [string, readonly string[] | undefined][] = [
    ["APIGroups", apiGroups],
    ["Resources", resources],
    ["ResourceNames", resourceNames],
    ["NonResourceURLs", nonResourceURLs],
    ["Verbs", verbs],
  ];
  return `{${parts.flatMap(([name, values]) => (values?.length ? [`${name}:${list(values)}`] : [])).join(", ")}}`;
}
