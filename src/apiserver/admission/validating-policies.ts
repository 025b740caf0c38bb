import type { k8s, KubeObject } from "../../api/index.ts";
import { messageOf } from "../../base/index.ts";
import type { ClusterState } from "../cluster-state.ts";
import type { Kind } from "../machinery/kind.ts";
import type { Admission, AdmissionRequest, Authorizer } from "../machinery/pipeline.ts";
import { forbiddenError, statusError } from "../machinery/status.ts";
import { asItIs } from "./equivalents.ts";
import type { Matched } from "./equivalents.ts";
import { findParams } from "./policy-params.ts";
import type { Verdict } from "./policy-verdict.ts";
import { matchRules, selectorsMatch } from "./webhook-match.ts";

type Policy = k8s.ValidatingAdmissionPolicy;
type Binding = k8s.ValidatingAdmissionPolicyBinding;

interface Context {
  readonly state: ClusterState;
  /** Every kind that is served now: custom ones come and go. */
  readonly kinds: () => readonly Kind[];
  readonly authorizers: readonly Authorizer[];
}

/** What one expression of a policy has against a request. `index`: of the validation, undefined for what is wrong with the policy itself. */
interface Denial {
  readonly policy: Policy;
  readonly binding?: Binding;
  readonly message: string;
  readonly reason?: string;
}

const ownGroup = "admissionregistration.k8s.io";
const maxAnnotationBytes = 10 * 1024;

/** Policies in CEL (https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/): enforced where a binding says so. */
export function validatingPolicies(context: Context): Admission {
  const { state } = context;
  return {
    async validate(request) {
      if (request.resource.group === ownGroup) return;
      const bindings = state.admissionPolicyBindings.now ?? (await state.admissionPolicyBindings.ready());
      if (bindings.size === 0) return;
      const policies = await state.admissionPolicies.ready();
      const byPolicy = Map.groupBy(bindings.list(), ({ spec }) => spec?.policyName ?? "");
      const denials: Denial[] = [];
      for (const [name, bound] of byPolicy) {
        const policy = policies.get(name);
        if (policy !== undefined) denials.push(...(await consider(context, request, policy, bound)));
      }
      if (denials.length > 0) throw refusal(request, denials[0]!);
    },
  };
}

/** Warns and audits as the bindings of a policy say; what they deny is returned, all of it. */
async function consider(
  context: Context,
  request: AdmissionRequest,
  policy: Policy,
  bindings: readonly Binding[],
): Promise<Denial[]> {
  const matched = await matches(context, request, policy.spec?.matchConstraints);
  if (matched === undefined) return [];
  const denials: Denial[] = [];
  const annotations = new Map<string, Set<string>>();
  for (const binding of bindings) {
    const match = binding.spec?.matchResources;
    if (match !== undefined && (await matches(context, request, match, true)) === undefined) continue;
    let verdicts: Verdict[];
    try {
      verdicts = await judge(context, request, policy, binding, matched);
    } catch (error) {
      if (policy.spec?.failurePolicy !== "Ignore")
        denials.push({ policy, binding, message: `failed to configure binding: ${messageOf(error)}` });
      continue;
    }
    for (const verdict of verdicts) {
      denials.push(...carryOut(request, policy, binding, verdict));
      for (const { key, value } of verdict.annotations)
        annotations.set(key, (annotations.get(key) ?? new Set()).add(value.slice(0, maxAnnotationBytes)));
    }
  }
  for (const [key, values] of annotations) request.annotate(`${policy.metadata.name}/${key}`, [...values].join(", "));
  return denials;
}

async function matches(
  { state, kinds }: Context,
  request: AdmissionRequest,
  match: k8s.MatchResources | undefined,
  emptyIsAll = false,
): Promise<Matched | undefined> {
  if (!(await selectorsMatch(state, request, match ?? {}))) return undefined;
  const { resourceRules = [], excludeResourceRules = [], matchPolicy } = match ?? {};
  if ((await matchRules(kinds, request, excludeResourceRules, matchPolicy)) !== undefined) return undefined;
  if (emptyIsAll && resourceRules.length === 0) return asItIs(request);
  return matchRules(kinds, request, resourceRules, matchPolicy);
}

/** One verdict for each object of parameters. Throws what is wrong with the binding's parameters. */
async function judge(
  { state, kinds, authorizers }: Context,
  request: AdmissionRequest,
  { spec = {} }: Policy,
  binding: Binding,
  matched: Matched,
): Promise<Verdict[]> {
  const all = await findParams(state, kinds(), request, spec.paramKind, binding.spec?.paramRef);
  const isNamespace = request.resource.group === "" && request.resource.resource === "namespaces";
  const namespace =
    request.namespace === "" || isNamespace ? undefined : await state.namespaces.find(request.namespace);
  const { verdictOf } = await import("./policy-verdict.ts");
  const verdicts: Verdict[] = [];
  for (const params of all)
    verdicts.push(await verdictOf(spec, { request, matched, authorizers, params, namespace: namespace as KubeObject }));
  return verdicts;
}

function carryOut(request: AdmissionRequest, policy: Policy, binding: Binding, verdict: Verdict): Denial[] {
  const actions = binding.spec?.validationActions ?? [];
  const denials: Denial[] = verdict.annotationProblems.map((message) => ({ policy, binding, message }));
  for (const { message, reason, index } of verdict.failures) {
    const names = { policy: policy.metadata.name, binding: binding.metadata.name };
    if (actions.includes("Deny")) denials.push({ policy, binding, message, reason });
    if (actions.includes("Warn"))
      request.warn(
        `Validation failed for ValidatingAdmissionPolicy '${names.policy}' with binding '${names.binding}': ${message}`,
      );
    if (actions.includes("Audit"))
      request.annotate(
        "validation.policy.admission.k8s.io/validation_failure",
        JSON.stringify([{ message, ...names, expressionIndex: index, validationActions: actions }]),
      );
  }
  return denials;
}

const codes: Readonly<Record<string, number>> = { Unauthorized: 401, Forbidden: 403, RequestEntityTooLarge: 413 };

function refusal({ resource, object, name }: AdmissionRequest, { policy, binding, message, reason }: Denial) {
  const by = binding === undefined ? "" : ` with binding '${binding.metadata.name}'`;
  const why = `ValidatingAdmissionPolicy '${policy.metadata.name}'${by} denied request: ${message}`;
  const named = { group: resource.group, plural: resource.resource };
  const status = forbiddenError(named, name || object?.metadata.name || "", why).details["status"] as {
    message: string;
    details: object;
  };
  return statusError("permissionDenied", {
    message: status.message,
    code: codes[reason ?? ""] ?? 422,
    reason: reason ?? "Invalid",
    details: { ...status.details, causes: [{ message: why }] },
  });
}
