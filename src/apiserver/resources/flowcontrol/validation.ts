import type { k8s, KubeObject } from "../../../api/index.ts";
import type { FieldError } from "../../machinery/kind.ts";
import { each, inRange, mustBeSet, requiredName } from "../shared/checks.ts";
import { forbidden, invalid, oneOf, required } from "../shared/field-errors.ts";
import { isDns1123Subdomain } from "../shared/names.ts";

/** Upstream's pkg/apis/flowcontrol/validation, as far as it concerns what this server may be told. */

const maxPrecedence = 10_000;

export function validateFlowSchema(object: KubeObject): FieldError[] {
  const { metadata, spec } = object as k8s.FlowSchema;
  const precedence = spec?.matchingPrecedence ?? 1000;
  const at = "spec.matchingPrecedence";
  const errors: FieldError[] = [];
  if (precedence <= 0) errors.push(invalid(at, precedence, "must be a positive value"));
  if (precedence > maxPrecedence) errors.push(invalid(at, precedence, `must not be greater than ${maxPrecedence}`));
  if (precedence === 1 && metadata.name !== "exempt")
    errors.push(invalid(at, precedence, "only the schema named 'exempt' may have matchingPrecedence 1"));
  if (spec?.distinguisherMethod !== undefined)
    errors.push(
      ...mustBeSet("spec.distinguisherMethod.type", spec.distinguisherMethod.type),
      ...oneOf("spec.distinguisherMethod", spec.distinguisherMethod.type, ["ByNamespace", "ByUser"]),
    );
  const level = spec?.priorityLevelConfiguration?.name;
  if (!level) errors.push(required("spec.priorityLevelConfiguration.name", "must reference a priority level"));
  else errors.push(...requiredName("spec.priorityLevelConfiguration.name", level, isDns1123Subdomain));
  return [...errors, ...each(spec?.rules, "spec.rules", validateRules)];
}

function validateRules(rules: k8s.PolicyRulesWithSubjects, at: string): FieldError[] {
  const errors: FieldError[] = [];
  if ((rules.subjects ?? []).length === 0)
    errors.push(required(`${at}.subjects`, "subjects must contain at least one value"));
  errors.push(...each(rules.subjects, `${at}.subjects`, validateSubject));
  if ((rules.resourceRules ?? []).length === 0 && (rules.nonResourceRules ?? []).length === 0)
    errors.push(required(at, "at least one of resourceRules and nonResourceRules has to be non-empty"));
  return [
    ...errors,
    ...each(rules.resourceRules, `${at}.resourceRules`, (rule, here) => [
      ...filled(rule.verbs, `${here}.verbs`, "verbs must contain at least one value"),
      ...filled(rule.apiGroups, `${here}.apiGroups`, "resource rules must supply at least one api group"),
      ...filled(rule.resources, `${here}.resources`, "resource rules must supply at least one resource"),
      ...((rule.namespaces ?? []).length === 0 && !rule.clusterScope
        ? [
            required(
              `${here}.namespaces`,
              "resource rules that are not cluster scoped must supply at least one namespace",
            ),
          ]
        : []),
    ]),
    ...each(rules.nonResourceRules, `${at}.nonResourceRules`, (rule, here) => [
      ...filled(rule.verbs, `${here}.verbs`, "verbs must contain at least one value"),
      ...filled(rule.nonResourceURLs, `${here}.nonResourceURLs`, "nonResourceURLs must contain at least one value"),
    ]),
  ];
}

const filled = (list: readonly string[] | undefined, at: string, detail: string): FieldError[] =>
  (list ?? []).length === 0 ? [required(at, detail)] : [];

function validateSubject({ kind, user, group, serviceAccount }: k8s.FlowcontrolSubject, at: string): FieldError[] {
  if (kind === "ServiceAccount")
    return serviceAccount
      ? [
          ...mustBeSet(`${at}.serviceAccount.name`, serviceAccount.name),
          ...mustBeSet(
            `${at}.serviceAccount.namespace`,
            serviceAccount.namespace,
            "must specify namespace for service account",
          ),
        ]
      : [required(`${at}.serviceAccount`, "serviceAccount is required when subject kind is 'ServiceAccount'")];
  if (kind === "User")
    return user
      ? mustBeSet(`${at}.user.name`, user.name)
      : [required(`${at}.user`, "user is required when subject kind is 'User'")];
  if (kind === "Group")
    return group
      ? mustBeSet(`${at}.group.name`, group.name)
      : [required(`${at}.group`, "group is required when subject kind is 'Group'")];
  return oneOf(`${at}.kind`, kind ?? "", ["Group", "ServiceAccount", "User"]);
}

export function validatePriorityLevel(object: KubeObject): FieldError[] {
  const spec = (object as k8s.PriorityLevelConfiguration).spec ?? ({} as k8s.PriorityLevelConfigurationSpec);
  if (spec.type === "Exempt")
    return spec.limited ? [forbidden("spec.limited", "must be nil if the type is not Limited")] : [];
  if (spec.type !== "Limited") return oneOf("spec.type", spec.type ?? "", ["Exempt", "Limited"]);
  const errors: FieldError[] = [];
  if (spec.exempt) errors.push(forbidden("spec.exempt", "must be nil if the type is Limited"));
  const limited = spec.limited;
  if (limited === undefined) return [...errors, required("spec.limited", "must not be empty when type is Limited")];
  const at = "spec.limited";
  if ((limited.nominalConcurrencyShares ?? 0) < 0)
    errors.push(
      invalid(`${at}.nominalConcurrencyShares`, limited.nominalConcurrencyShares, "must be a non-negative integer"),
    );
  errors.push(...inRange(`${at}.lendablePercent`, limited.lendablePercent ?? 0, 0, 100));
  if ((limited.borrowingLimitPercent ?? 0) < 0)
    errors.push(
      invalid(
        `${at}.borrowingLimitPercent`,
        limited.borrowingLimitPercent,
        "if specified, must be a non-negative integer",
      ),
    );
  return [...errors, ...validateLimitResponse(limited.limitResponse, `${at}.limitResponse`)];
}

const maxQueues = 10_000_000;

function validateLimitResponse(response: k8s.LimitResponse | undefined, at: string): FieldError[] {
  if (response?.type === "Reject")
    return response.queuing
      ? [forbidden(`${at}.queuing`, "must be nil if limited.limitResponse.type is not Limited")]
      : [];
  if (response?.type !== "Queue") return oneOf(`${at}.type`, response?.type ?? "", ["Queue", "Reject"]);
  const queuing = response.queuing;
  if (queuing === undefined)
    return [required(`${at}.queuing`, "must not be empty if limited.limitResponse.type is Limited")];
  const { queues = 64, handSize = 8, queueLengthLimit = 50 } = queuing;
  const errors: FieldError[] = [];
  const here = `${at}.queuing`;
  if (queueLengthLimit <= 0) errors.push(invalid(`${here}.queueLengthLimit`, queueLengthLimit, "must be positive"));
  if (queues <= 0) errors.push(invalid(`${here}.queues`, queues, "must be positive"));
  else if (queues > maxQueues) errors.push(invalid(`${here}.queues`, queues, `must not be greater than ${maxQueues}`));
  if (handSize <= 0) errors.push(invalid(`${here}.handSize`, handSize, "must be positive"));
  else if (handSize > queues)
    errors.push(invalid(`${here}.handSize`, handSize, `should not be greater than queues (${queues})`));
  return errors;
}
