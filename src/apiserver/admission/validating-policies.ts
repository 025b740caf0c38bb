import type { k8s, KubeObject } from "../../api/index.ts";
import { messageOf } from "../../base/index.ts";
import { defineResource } from "../../client/index.ts";
import type { ClusterState } from "../cluster-state.ts";
import type { Kind } from "../machinery/kind.ts";
import type { Admission, AdmissionRequest } from "../machinery/pipeline.ts";
import { forbiddenError, statusError } from "../machinery/status.ts";
import { selects } from "../resources/shared/object-meta.ts";
import { ruleMatches, selectorsMatch } from "./webhook-match.ts";

type Policy = k8s.ValidatingAdmissionPolicy;
type Binding = k8s.ValidatingAdmissionPolicyBinding;

/** The kind that a policy's parameters are of; custom kinds come and go. */
export type FindKind = (apiVersion: string, kind: string) => Kind | undefined;

const ownGroup = "admissionregistration.k8s.io";

/** Policies in CEL (https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/): enforced where a binding says so. */
export function validatingPolicies(state: ClusterState, findKind: FindKind): Admission {
  return {
    async validate(request) {
      if (request.resource.group === ownGroup) return;
      const bindings = state.admissionPolicyBindings.now ?? (await state.admissionPolicyBindings.ready());
      if (bindings.size === 0) return;
      const policies = await state.admissionPolicies.ready();
      for (const binding of bindings.list()) {
        const policy = policies.get(binding.spec?.policyName ?? "");
        if (policy === undefined || !(await matches(state, request, policy.spec?.matchConstraints))) continue;
        if (
          binding.spec?.matchResources !== undefined &&
          !(await matches(state, request, binding.spec.matchResources, true))
        )
          continue;
        await enforce(state, findKind, request, policy, binding);
      }
    },
  };
}

async function matches(
  state: ClusterState,
  request: AdmissionRequest,
  match: k8s.MatchResources | undefined,
  emptyIsAll = false,
): Promise<boolean> {
  const named = ({ resourceNames }: k8s.NamedRuleWithOperations) =>
    !resourceNames?.length || resourceNames.includes(request.name);
  const speaksOf = (rule: k8s.NamedRuleWithOperations) => ruleMatches(rule, request) && named(rule);
  if ((match?.excludeResourceRules ?? []).some(speaksOf)) return false;
  const rules = match?.resourceRules ?? [];
  if (!(emptyIsAll && rules.length === 0) && !rules.some(speaksOf)) return false;
  return selectorsMatch(state, request, match ?? {});
}

async function enforce(
  state: ClusterState,
  findKind: FindKind,
  request: AdmissionRequest,
  policy: Policy,
  binding: Binding,
): Promise<void> {
  const spec = policy.spec ?? {};
  const { evaluate, policyVariables } = await import("./policy-variables.ts");
  const namespace = request.namespace === "" ? undefined : await state.namespaces.find(request.namespace);
  const fail = (why: string) => apply(request, policy, binding, why, undefined);
  const all =
    spec.paramKind === undefined ? [undefined] : await findParams(state, findKind, request, spec.paramKind, binding);
  if (all.length === 0 && binding.spec?.paramRef?.parameterNotFoundAction !== "Allow")
    return fail("failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction");
  for (const params of all) {
    const variables = policyVariables(request, spec, params, namespace);
    try {
      if (!(spec.matchConditions ?? []).every(({ expression }) => evaluate(expression, variables) === true)) continue;
    } catch (error) {
      if (spec.failurePolicy === "Ignore") continue;
      return fail(`match condition failed: ${firstLine(error)}`);
    }
    annotate(request, policy, variables, evaluate, fail);
    for (const validation of spec.validations ?? []) {
      const problem = check(validation, variables, evaluate, spec.failurePolicy);
      if (problem !== undefined) apply(request, policy, binding, problem, validation.reason);
    }
  }
}

type Evaluate = (expression: string, variables: Record<string, unknown>) => unknown;

const maxAnnotationBytes = 10 * 1024;

/** What the policy has to say for the audit log, whatever it decides: `NAME/key`. A value of null says nothing. */
function annotate(
  request: AdmissionRequest,
  { metadata, spec = {} }: Policy,
  variables: Record<string, unknown>,
  evaluate: Evaluate,
  fail: (why: string) => void,
): void {
  for (const { key, valueExpression } of spec.auditAnnotations ?? []) {
    try {
      const value = evaluate(valueExpression, variables);
      if (typeof value === "string" && value.trim() !== "")
        request.annotate(`${metadata.name}/${key}`, value.trim().slice(0, maxAnnotationBytes));
      else if (value !== null && typeof value !== "string")
        throw new Error(
          "valueExpression resulted in unsupported return type. Return type must be either string or null",
        );
    } catch (error) {
      if (spec.failurePolicy !== "Ignore")
        fail(`expression '${valueExpression}' resulted in error: ${firstLine(error)}`);
    }
  }
}

const firstLine = (error: unknown): string => messageOf(error).split("\n")[0]!;

function check(
  validation: k8s.Validation,
  variables: Record<string, unknown>,
  evaluate: Evaluate,
  failurePolicy: string | undefined,
): string | undefined {
  const { expression, message, messageExpression } = validation;
  try {
    if (evaluate(expression, variables) === true) return undefined;
  } catch (error) {
    if (failurePolicy === "Ignore") return undefined;
    return `expression '${expression}' resulted in error: ${firstLine(error)}`;
  }
  const fixed = message?.trim() || `failed expression: ${expression.trim()}`;
  if (messageExpression === undefined) return fixed;
  try {
    const text = evaluate(messageExpression, variables);
    return typeof text === "string" && text.trim() !== "" ? text.trim() : fixed;
  } catch {
    return fixed; // Upstream does the same.
  }
}

/** Denies, warns or audits, as the binding says. */
function apply(
  request: AdmissionRequest,
  policy: Policy,
  binding: Binding,
  why: string,
  reason: string | undefined,
): void {
  const where = `ValidatingAdmissionPolicy '${policy.metadata.name}' with binding '${binding.metadata.name}'`;
  const actions = binding.spec?.validationActions ?? ["Deny"];
  if (actions.includes("Audit"))
    request.annotate(
      "validation.policy.admission.k8s.io/validation_failure",
      JSON.stringify([{ message: why, policy: policy.metadata.name, binding: binding.metadata.name }]),
    );
  if (actions.includes("Warn")) request.warn(`Validation failed for ${where}: ${why}`);
  if (!actions.includes("Deny")) return;
  const message = `${where} denied request: ${why}`;
  const { resource, object, name } = request;
  const plain = forbiddenError(
    { group: resource.group, plural: resource.resource },
    name || object?.metadata.name || "",
    message,
  );
  const status = plain.details["status"] as { message: string; details: object };
  throw statusError("permissionDenied", {
    message: status.message,
    code: { Unauthorized: 401, Forbidden: 403, RequestEntityTooLarge: 413 }[reason ?? ""] ?? 422,
    reason: reason ?? "Invalid",
    details: { ...status.details, causes: [{ message }] },
  });
}

async function findParams(
  state: ClusterState,
  findKind: FindKind,
  request: AdmissionRequest,
  { apiVersion = "", kind = "" }: k8s.ParamKind,
  { spec }: Binding,
): Promise<KubeObject[]> {
  const found = findKind(apiVersion, kind);
  const ref = spec?.paramRef;
  if (found === undefined || ref === undefined) return [];
  const client = state.client.of(defineResource(apiVersion, found.plural, kind, found.namespaced));
  const namespace = found.namespaced ? ref.namespace || request.namespace : undefined;
  const { items } = await client.list({ namespace });
  return (items as KubeObject[]).filter(({ metadata }) =>
    ref.name ? metadata.name === ref.name : selects(ref.selector, metadata.labels),
  );
}
