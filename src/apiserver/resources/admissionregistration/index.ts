import type { k8s } from "../../../api/index.ts";
import { ageColumn, integer, nameColumn, text } from "../shared/columns.ts";
import type { GroupKinds, Peculiarities } from "../shared/peculiarities.ts";
import { validateBinding, validatePolicy, validateWebhooks } from "./validation.ts";

type Config = k8s.ValidatingWebhookConfiguration;
type Policy = k8s.ValidatingAdmissionPolicy;
type Binding = k8s.ValidatingAdmissionPolicyBinding;

const webhookConfiguration = (reinvocation: boolean): Peculiarities => ({
  hasGeneration: true,
  validate: validateWebhooks,
  async validateExpressions(object, old) {
    const hooks = (object as Config).webhooks ?? [];
    if (hooks.every(({ matchConditions }) => (matchConditions ?? []).length === 0)) return [];
    return (await import("./expressions.ts")).validateHookExpressions(object, old);
  },
  fillDefaults(object) {
    for (const hook of (object as Config).webhooks ?? []) {
      hook.failurePolicy ??= "Fail";
      hook.matchPolicy ??= "Equivalent";
      hook.namespaceSelector ??= {};
      hook.objectSelector ??= {};
      hook.timeoutSeconds ??= 10;
      if (reinvocation) (hook as k8s.MutatingWebhook).reinvocationPolicy ??= "Never";
      for (const rule of hook.rules ?? []) rule.scope ??= "*";
      if (hook.clientConfig?.service !== undefined) hook.clientConfig.service.port ??= 443;
    }
  },
  columns: [nameColumn, integer<Config>("Webhooks", ({ webhooks }) => webhooks?.length ?? 0), ageColumn],
});

function fillMatch(match: k8s.MatchResources | undefined): void {
  if (match === undefined) return;
  match.matchPolicy ??= "Equivalent";
  match.namespaceSelector ??= {};
  match.objectSelector ??= {};
  for (const rule of [...(match.resourceRules ?? []), ...(match.excludeResourceRules ?? [])]) rule.scope ??= "*";
}

export const admissionregistrationKinds: GroupKinds = {
  mutatingwebhookconfigurations: webhookConfiguration(true),
  validatingwebhookconfigurations: webhookConfiguration(false),
  validatingadmissionpolicies: {
    hasGeneration: true,
    validate: validatePolicy,
    validateUpdate: (object, _old, { subresource }) => (subresource === "status" ? [] : validatePolicy(object)),
    validateExpressions: async (object, old) =>
      (await import("./expressions.ts")).validatePolicyExpressions(object, old),
    fillDefaults(object) {
      const spec = ((object as Policy).spec ??= {});
      spec.failurePolicy ??= "Fail";
      fillMatch(spec.matchConstraints);
    },
    columns: [
      nameColumn,
      integer<Policy>("Validations", ({ spec }) => spec?.validations?.length ?? 0),
      text<Policy>("ParamKind", ({ spec }) =>
        spec?.paramKind === undefined ? "<unset>" : `${spec.paramKind.apiVersion}/${spec.paramKind.kind}`,
      ),
      ageColumn,
    ],
  },
  validatingadmissionpolicybindings: {
    hasGeneration: true,
    validate: validateBinding,
    fillDefaults: (object) => fillMatch((object as Binding).spec?.matchResources),
    columns: [
      nameColumn,
      text<Binding>("PolicyName", ({ spec }) => spec?.policyName ?? ""),
      text<Binding>("ParamRef", ({ spec }) => {
        const { name, namespace, selector } = spec?.paramRef ?? {};
        if (name) return namespace ? `${namespace}/${name}` : `*/${name}`;
        return selector === undefined ? "<unset>" : "<selector>";
      }),
      ageColumn,
    ],
  },
};
