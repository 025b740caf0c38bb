import type { k8s, KubeObject } from "../../../api/index.ts";
import type { FieldError } from "../../machinery/kind.ts";
import { each, eachEntry, nano } from "../shared/checks.ts";
import { duplicate, forbidden, immutable, invalid, required } from "../shared/field-errors.ts";
import { isQualifiedName } from "../shared/names.ts";
import {
  validateContainerResourceName,
  validateResourceName,
  validateResourceQuantity,
} from "./pod-validation/compute.ts";

/** LimitRanges and ResourceQuotas. */

type Sizes = Record<string, string>;
const parts = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] as const;

export function validateLimitRange(object: KubeObject): FieldError[] {
  const seen = new Set<string>();
  return each((object as k8s.LimitRange).spec?.limits, "spec.limits", (limit, at) => {
    const errors = validateType(limit.type, `${at}.type`);
    if (seen.has(limit.type)) errors.push(duplicate(`${at}.type`, limit.type));
    seen.add(limit.type);
    const checkName = ["Pod", "Container"].includes(limit.type) ? validateContainerResourceName : validateResourceName;
    for (const part of parts) {
      const own = part === "default" || part === "defaultRequest";
      if (own && limit.type === "Pod") {
        if (Object.keys(limit[part] ?? {}).length > 0)
          errors.push(forbidden(`${at}.${part}`, "may not be specified when `type` is 'Pod'"));
        continue;
      }
      errors.push(...eachEntry(limit[part], `${at}.${part}`, (_quantity, here, name) => checkName(name, here)));
    }
    if (limit.type === "PersistentVolumeClaim" && !limit.min?.["storage"] && !limit.max?.["storage"])
      errors.push(
        required(`${at}.limits`, "either minimum or maximum storage value is required, but neither was provided"),
      );
    return [...errors, ...validateOrder(limit, at)];
  });
}

function validateType(type: string, at: string): FieldError[] {
  const errors = isQualifiedName(type ?? "").map((detail) => invalid(at, type ?? "", detail));
  if (errors.length > 0 || type.includes("/") || ["Container", "PersistentVolumeClaim", "Pod"].includes(type))
    return errors;
  return [invalid(at, type, "must be a standard limit type or fully qualified")];
}

function validateOrder(limit: k8s.LimitRangeItem, at: string): FieldError[] {
  const {
    min = {},
    max = {},
    default: fallback = {},
    defaultRequest: request = {},
    maxLimitRequestRatio: ratio = {},
  } = limit;
  const names = new Set([min, max, fallback, request, ratio].flatMap((sizes: Sizes) => Object.keys(sizes)));
  const errors: FieldError[] = [];
  const more = (a: string | undefined, b: string | undefined): boolean =>
    a !== undefined && b !== undefined && (nano(a) ?? 0n) > (nano(b) ?? 0n);
  for (const name of names) {
    const [low, high, given, asked, most] = [min[name], max[name], fallback[name], request[name], ratio[name]];
    const add = (part: string, value: string | undefined, detail: string) =>
      errors.push(invalid(`${at}.${part}[${name}]`, value, detail));
    if (more(low, high)) add("min", low, `min value ${low} is greater than max value ${high}`);
    if (more(low, asked))
      add("defaultRequest", asked, `min value ${low} is greater than default request value ${asked}`);
    if (more(asked, high))
      add("defaultRequest", asked, `default request value ${asked} is greater than max value ${high}`);
    if (more(asked, given))
      add("defaultRequest", asked, `default request value ${asked} is greater than default limit value ${given}`);
    if (more(low, given)) add("default", low, `min value ${low} is greater than default value ${given}`);
    if (more(given, high)) add("default", high, `default value ${given} is greater than max value ${high}`);
    if (more("1", most)) add("maxLimitRequestRatio", most, `ratio ${most} is less than 1`);
    if (most !== undefined && low !== undefined && high !== undefined && (nano(low) ?? 0n) > 0n) {
      const limitRatio = Number(nano(high) ?? 0n) / Number(nano(low));
      if (Number(nano(most) ?? 0n) / 1e9 > limitRatio)
        add("maxLimitRequestRatio", most, `ratio ${most} is greater than max/min = ${limitRatio.toFixed(6)}`);
    }
  }
  return errors;
}

const quotaNames =
  /^(cpu|memory|ephemeral-storage|(requests|limits)\.(cpu|memory|ephemeral-storage)|requests\.storage|pods|resourcequotas|services|replicationcontrollers|secrets|persistentvolumeclaims|configmaps|services\.(nodeports|loadbalancers)|(requests\.)?hugepages-.*)$/;
const computeNames = /^(cpu|memory|(requests|limits)\.(cpu|memory))$/;
const scopes = [
  "BestEffort",
  "NotBestEffort",
  "Terminating",
  "NotTerminating",
  "PriorityClass",
  "CrossNamespacePodAffinity",
  "VolumeAttributesClass",
];

function validateQuotaName(name: string, at: string): FieldError[] {
  const errors = validateResourceName(name, at);
  if (!name.includes("/") && !quotaNames.test(name))
    errors.push(invalid(at, name, "must be a standard resource for quota"));
  return errors;
}

/** Which resources a scope can count: those of Pods alone, BestEffort only Pods themselves. */
function scopeFits(scope: string, name: string): boolean {
  if (name.includes("/") || name.startsWith("count/")) return true;
  if (scope === "VolumeAttributesClass") return name === "persistentvolumeclaims" || name === "requests.storage";
  if (scope === "BestEffort") return name === "pods";
  return name === "pods" || computeNames.test(name) || /ephemeral-storage$|hugepages-/.test(name);
}

function validateScopes(spec: k8s.ResourceQuotaSpec): FieldError[] {
  const given = spec.scopes ?? [];
  const at = "spec.scopes";
  const names = Object.keys(spec.hard ?? {}).toSorted();
  const errors: FieldError[] = [];
  for (const scope of given) {
    if (!scopes.includes(scope)) errors.push(invalid(at, given, "unsupported scope"));
    for (const name of names)
      if (quotaNames.test(name) && !scopeFits(scope, name))
        errors.push(invalid(at, given, "unsupported scope applied to resource"));
  }
  for (const pair of [
    ["BestEffort", "NotBestEffort"],
    ["Terminating", "NotTerminating"],
  ])
    if (pair.every((scope) => given.includes(scope))) errors.push(invalid(at, given, "conflicting scopes"));
  return errors;
}

function validateSelector(spec: k8s.ResourceQuotaSpec): FieldError[] {
  const at = "spec.scopeSelector.matchExpressions";
  return (spec.scopeSelector?.matchExpressions ?? []).flatMap(({ scopeName, operator, values = [] }) => {
    const errors = scopes.includes(scopeName) ? [] : [invalid(`${at}.scopeName`, scopeName, "unsupported scope")];
    if (scopes.includes(scopeName) && !scopeName.endsWith("Class") && operator !== "Exists")
      errors.push(
        invalid(
          `${at}.operator`,
          operator,
          "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity",
        ),
      );
    if (operator === "In" || operator === "NotIn") {
      if (values.length === 0)
        errors.push(
          required(`${at}.values`, "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"),
        );
    } else if (operator === "Exists" || operator === "DoesNotExist") {
      if (values.length > 0)
        errors.push(
          invalid(
            `${at}.values`,
            values,
            "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector",
          ),
        );
    } else {
      errors.push(invalid(`${at}.operator`, operator ?? "", "not a valid selector operator"));
    }
    return errors;
  });
}

export function validateQuota(object: KubeObject): FieldError[] {
  const spec = (object as k8s.ResourceQuota).spec ?? {};
  return [
    ...eachEntry(spec.hard, "spec.hard", (quantity, at, name) => [
      ...validateQuotaName(name, at),
      ...validateResourceQuantity(name, quantity, at),
    ]),
    ...validateScopes(spec),
    ...validateSelector(spec),
  ];
}

export const validateQuotaChange = (now: k8s.ResourceQuota, old: k8s.ResourceQuota): FieldError[] => [
  ...validateQuota(now as KubeObject),
  ...immutable("spec.scopes", now.spec?.scopes?.toSorted(), old.spec?.scopes?.toSorted()),
];
