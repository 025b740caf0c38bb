import type { k8s } from "../../../../api/index.ts";
import type { FieldError } from "../../../machinery/kind.ts";
import { each, label, named, positive } from "../../shared/checks.ts";
import { duplicate, forbidden, invalid, notSupported, oneOf, required } from "../../shared/field-errors.ts";
import { isLabelValue, isQualifiedName } from "../../shared/names.ts";
import { validateLabelSelector } from "../../shared/object-meta.ts";

/** Tolerations, spreading and gates. */

export const taintEffects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

export const validateTolerations = (tolerations: readonly k8s.Toleration[] | undefined, at: string): FieldError[] =>
  each(tolerations, at, validateToleration);

function validateToleration(toleration: k8s.Toleration, at: string): FieldError[] {
  const { key, operator = "", value = "", effect = "", tolerationSeconds } = toleration;
  const errors = key ? named(`${at}.key`, key, isQualifiedName) : [];
  if (!key && operator !== "Exists")
    errors.push(
      invalid(
        `${at}.operator`,
        operator,
        'operator must be Exists when `key` is empty, which means "match all values and all keys"',
      ),
    );
  if (tolerationSeconds !== undefined && effect !== "NoExecute")
    errors.push(invalid(`${at}.effect`, effect, "effect must be 'NoExecute' when `tolerationSeconds` is set"));
  if (operator === "Equal" || operator === "") {
    const wrong = isLabelValue(value);
    if (wrong.length > 0) errors.push(invalid(`${at}.operator`, value, wrong.join(";")));
  } else if (operator === "Exists") {
    if (value !== "")
      errors.push(invalid(`${at}.operator`, asGo(toleration), "value must be empty when `operator` is 'Exists'"));
  } else {
    errors.push(notSupported(`${at}.operator`, operator, ["Equal", "Exists"]));
  }
  if (effect !== "" && !taintEffects.includes(effect)) errors.push(notSupported(`${at}.effect`, effect, taintEffects));
  return errors;
}

/** Upstream shows its internal form, whose fields have Go's names. */
const asGo = ({ key = "", operator = "", value = "", effect = "", tolerationSeconds }: k8s.Toleration): object => ({
  Key: key,
  Operator: operator,
  Value: value,
  Effect: effect,
  TolerationSeconds: tolerationSeconds ?? null,
});

export function validateSpread(
  constraints: readonly k8s.TopologySpreadConstraint[] | undefined,
  at: string,
): FieldError[] {
  return each(constraints, at, (constraint, here, index) => {
    const { topologyKey, whenUnsatisfiable } = constraint;
    const errors = positive(`${here}.maxSkew`, constraint.maxSkew ?? 0);
    if (!topologyKey) errors.push(required(`${here}.topologyKey`, "can not be empty"));
    errors.push(...oneOf(`${here}.whenUnsatisfiable`, whenUnsatisfiable, ["DoNotSchedule", "ScheduleAnyway"]));
    const again = constraints!
      .slice(index + 1)
      .some((other) => other.topologyKey === topologyKey && other.whenUnsatisfiable === whenUnsatisfiable);
    if (again)
      errors.push(duplicate(`${here}.{topologyKey, whenUnsatisfiable}`, `{${topologyKey}, ${whenUnsatisfiable}}`));
    return [
      ...errors,
      ...validateMinDomains(constraint, `${here}.minDomains`),
      ...oneOf(`${here}.nodeAffinityPolicy`, constraint.nodeAffinityPolicy, ["Honor", "Ignore"]),
      ...oneOf(`${here}.nodeTaintsPolicy`, constraint.nodeTaintsPolicy, ["Honor", "Ignore"]),
      ...validateSpreadKeys(constraint, `${here}.matchLabelKeys`),
      ...validateLabelSelector(constraint.labelSelector, `${here}.labelSelector`),
    ];
  });
}

function validateMinDomains({ minDomains, whenUnsatisfiable }: k8s.TopologySpreadConstraint, at: string): FieldError[] {
  if (minDomains === undefined) return [];
  const errors = positive(at, minDomains);
  if (whenUnsatisfiable !== "DoNotSchedule")
    errors.push(
      invalid(at, minDomains, `can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ${whenUnsatisfiable}`),
    );
  return errors;
}

function validateSpreadKeys(
  { matchLabelKeys = [], labelSelector }: k8s.TopologySpreadConstraint,
  at: string,
): FieldError[] {
  if (matchLabelKeys.length === 0) return [];
  const chosen = new Set([
    ...Object.keys(labelSelector?.matchLabels ?? {}),
    ...(labelSelector?.matchExpressions ?? []).map(({ key }) => key),
  ]);
  return [
    ...(labelSelector ? [] : [forbidden(at, "must not be specified when labelSelector is not set")]),
    ...each(matchLabelKeys, at, (key, here) => [
      ...named(here, key, isQualifiedName),
      ...(chosen.has(key) ? [invalid(here, key, "exists in both matchLabelKeys and labelSelector")] : []),
    ]),
  ];
}

export function validateSchedulingGates(gates: readonly k8s.PodSchedulingGate[] | undefined, at: string): FieldError[] {
  const seen = new Set<string>();
  return each(gates, at, ({ name }, here) => {
    const errors = named(here, name ?? "", isQualifiedName);
    if (seen.has(name)) errors.push(duplicate(here, name));
    seen.add(name);
    return errors;
  });
}

export const validateReadinessGates = (gates: readonly k8s.PodReadinessGate[] | undefined, at: string): FieldError[] =>
  each(gates, at, ({ conditionType }, here) => named(`${here}.conditionType`, conditionType ?? "", isQualifiedName));

/** A Pod's claims on devices. */
export function validatePodClaims(claims: readonly k8s.PodResourceClaim[] | undefined, at: string): FieldError[] {
  const seen = new Set<string>();
  return each(claims, at, (claim, here) => {
    const errors: FieldError[] = [];
    if (!claim.name) errors.push(required(`${here}.name`));
    else if (seen.has(claim.name)) errors.push(duplicate(`${here}.name`, claim.name));
    else errors.push(...label(`${here}.name`, claim.name));
    seen.add(claim.name);
    if (claim.resourceClaimName !== undefined && claim.resourceClaimTemplateName !== undefined)
      errors.push(
        invalid(here, claim, "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"),
      );
    if (claim.resourceClaimName === undefined && claim.resourceClaimTemplateName === undefined)
      errors.push(invalid(here, claim, "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"));
    return errors;
  });
}
