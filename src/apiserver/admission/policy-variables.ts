import type { k8s, KubeObject } from "../../api/index.ts";
import { compileCel, toCel } from "../../cel/index.ts";
import type { AdmissionRequest } from "../machinery/pipeline.ts";

/** What the expressions of a policy may speak of. `variables` are worked out when first asked for, in terms of those before them. */
export function policyVariables(
  request: AdmissionRequest,
  policy: k8s.ValidatingAdmissionPolicySpec,
  params: KubeObject | undefined,
  namespace: KubeObject | undefined,
): Record<string, unknown> {
  const { kind, resource, subresource, name, operation, user, dryRun } = request;
  const userInfo = {
    username: user.name,
    uid: user.uid ?? "",
    groups: [...user.groups],
    extra: toCel(user.extra ?? {}, undefined),
  };
  const known: Record<string, unknown> = {
    object: toCel(request.object ?? null, undefined),
    oldObject: toCel(request.oldObject ?? null, undefined),
    params: toCel(params ?? null, undefined),
    namespaceObject: toCel(namespace ?? null, undefined),
    request: {
      kind,
      resource,
      subResource: subresource,
      name,
      namespace: request.namespace,
      operation,
      userInfo,
      dryRun,
    },
  };
  const variables: Record<string, unknown> = {};
  for (const variable of policy.variables ?? []) {
    Object.defineProperty(variables, variable.name, {
      enumerable: true,
      configurable: true,
      get() {
        const value = compileCel(variable.expression)(known);
        Object.defineProperty(variables, variable.name, { value, enumerable: true });
        return value;
      },
    });
  }
  known["variables"] = variables;
  return known;
}

/** The value of an expression. Throws what CEL throws. */
export const evaluate = (expression: string, variables: Record<string, unknown>): unknown =>
  compileCel(expression)(variables);
