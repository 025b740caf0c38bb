import type { k8s } from "../../../api/index.ts";
import type { FieldError } from "../../machinery/kind.ts";
import { validatePodTemplate } from "../core/pod-template.ts";
import { domainPath, each, named } from "../shared/checks.ts";
import {
  duplicate,
  invalid,
  nonNegative,
  notSupported,
  oneOf,
  required,
  tooLong,
  tooMany,
} from "../shared/field-errors.ts";
import { isQualifiedName } from "../shared/names.ts";

/** Upstream's validateJobSpec (pkg/apis/batch/validation): a Job's, and that of a CronJob's template. */

type JobSpec = k8s.JobSpec;
const maxParallelism = 100_000;
const manyCompletions = 100_000;
const maxOfMany = 10_000;
const maxRules = 20;
const maxExitCodes = 255;
const maxManagedByBytes = 63;

/** An error that shows no value. */
const plain = (field: string, detail: string): FieldError => ({
  type: "FieldValueInvalid",
  field,
  detail: `Invalid value: ${detail}`,
});
/** Go's %q of a list. */
const goList = (values: readonly string[]): string => `[${values.map((value) => JSON.stringify(value)).join(" ")}]`;

export function validateJobSpec(spec: JobSpec | undefined, at: string): FieldError[] {
  const counts = [
    "parallelism",
    "completions",
    "activeDeadlineSeconds",
    "backoffLimit",
    "ttlSecondsAfterFinished",
    "backoffLimitPerIndex",
    "maxFailedIndexes",
  ] as const;
  const errors = counts.flatMap((name) => nonNegative(`${at}.${name}`, spec?.[name]));
  if (spec !== undefined) errors.push(...validateMode(spec, at));
  errors.push(...validateManagedBy(spec?.managedBy, `${at}.managedBy`));
  if (spec?.template === undefined) return [...errors, required(`${at}.template`)];
  return [
    ...errors,
    ...(spec.podFailurePolicy ? validateFailurePolicy(spec, `${at}.podFailurePolicy`) : []),
    ...validateSuccess(spec, `${at}.successPolicy`),
    ...oneOf(
      `${at}.podReplacementPolicy`,
      spec.podReplacementPolicy,
      spec.podFailurePolicy ? ["Failed"] : ["Failed", "TerminatingOrFailed"],
    ),
    ...validatePodTemplate(spec.template, `${at}.template`),
    ...validateRestartPolicy(spec, `${at}.template.spec.restartPolicy`),
  ];
}

function validateManagedBy(name: string | undefined, at: string): FieldError[] {
  if (name === undefined) return [];
  return [...domainPath(at, name), ...(name.length > maxManagedByBytes ? [tooLong(at, maxManagedByBytes)] : [])];
}

function validateMode(spec: JobSpec, at: string): FieldError[] {
  const errors = oneOf(`${at}.completionMode`, spec.completionMode, ["NonIndexed", "Indexed"]);
  const { completions, parallelism = 0, maxFailedIndexes: failed } = spec;
  if (spec.completionMode !== "Indexed") {
    for (const field of ["backoffLimitPerIndex", "maxFailedIndexes"] as const)
      if (spec[field] !== undefined)
        errors.push(invalid(`${at}.${field}`, spec[field], "requires indexed completion mode"));
    return errors;
  }
  if (completions === undefined) errors.push(required(`${at}.completions`, "when completion mode is Indexed"));
  if (parallelism > maxParallelism)
    errors.push(
      invalid(
        `${at}.parallelism`,
        parallelism,
        `must be less than or equal to ${maxParallelism} when completion mode is Indexed`,
      ),
    );
  if (failed !== undefined && spec.backoffLimitPerIndex === undefined)
    errors.push(required(`${at}.backoffLimitPerIndex`, "when maxFailedIndexes is specified"));
  if (failed !== undefined && completions !== undefined && failed > completions)
    errors.push(invalid(`${at}.maxFailedIndexes`, failed, "must be less than or equal to completions"));
  if ((completions ?? 0) > manyCompletions && spec.backoffLimitPerIndex !== undefined) {
    const detail = `must be less than or equal to ${maxOfMany} when completions are above ${manyCompletions} and used with backoff limit per index`;
    if (failed === undefined)
      errors.push(required(`${at}.maxFailedIndexes`, `must be specified when completions is above ${manyCompletions}`));
    else if (failed > maxOfMany) errors.push(invalid(`${at}.maxFailedIndexes`, failed, detail));
    if (parallelism > maxOfMany) errors.push(invalid(`${at}.parallelism`, parallelism, detail));
  }
  return errors;
}

function validateRestartPolicy(spec: JobSpec, at: string): FieldError[] {
  const policy = spec.template.spec?.restartPolicy ?? "";
  if (policy === "" || policy === "Always") return [required(at, 'valid values: "OnFailure", "Never"')];
  if (policy !== "OnFailure" && policy !== "Never") return [notSupported(at, policy, ["OnFailure", "Never"])];
  return spec.podFailurePolicy !== undefined && policy !== "Never"
    ? [invalid(at, policy, 'only "Never" is supported when podFailurePolicy is specified')]
    : [];
}

const actions = ["Count", "FailIndex", "FailJob", "Ignore"];
const operators = ["In", "NotIn"];
const statuses = ["False", "True", "Unknown"];

function validateFailurePolicy(spec: JobSpec, at: string): FieldError[] {
  const rules = spec.podFailurePolicy?.rules ?? [];
  const template = spec.template.spec;
  const names = new Set([...(template?.containers ?? []), ...(template?.initContainers ?? [])].map(({ name }) => name));
  return [
    ...(rules.length > maxRules ? [tooMany(`${at}.rules`, rules.length, maxRules)] : []),
    ...each(rules, `${at}.rules`, (rule, here) => [
      ...validateAction(rule.action, spec, `${here}.action`),
      ...(rule.onExitCodes ? validateExitCodes(rule.onExitCodes, names, `${here}.onExitCodes`) : []),
      ...validateConditions(rule.onPodConditions ?? [], `${here}.onPodConditions`),
      ...validateOneMatcher(rule, here),
    ]),
  ];
}

function validateAction(action: string | undefined, spec: JobSpec, at: string): FieldError[] {
  if (!action) return [required(at, `valid values: ${goList(actions)}`)];
  if (action === "FailIndex" && spec.backoffLimitPerIndex === undefined)
    return [invalid(at, action, "requires the backoffLimitPerIndex to be set")];
  return oneOf(at, action, actions);
}

function validateOneMatcher({ onExitCodes, onPodConditions = [] }: k8s.PodFailurePolicyRule, at: string): FieldError[] {
  if (onExitCodes && onPodConditions.length > 0)
    return [plain(at, "specifying both OnExitCodes and OnPodConditions is not supported")];
  return onExitCodes || onPodConditions.length > 0
    ? []
    : [plain(at, "specifying one of OnExitCodes and OnPodConditions is required")];
}

function validateExitCodes(
  requirement: k8s.PodFailurePolicyOnExitCodesRequirement,
  names: ReadonlySet<string>,
  at: string,
): FieldError[] {
  const { operator, containerName } = requirement;
  const values = requirement.values ?? [];
  const errors = operator
    ? oneOf(`${at}.operator`, operator, operators)
    : [required(`${at}.operator`, `valid values: ${goList(operators)}`)];
  if (containerName !== undefined && !names.has(containerName))
    errors.push(
      invalid(
        `${at}.containerName`,
        containerName,
        "must be one of the container or initContainer names in the pod template",
      ),
    );
  if (values.length === 0) errors.push(invalid(`${at}.values`, values, "at least one value is required"));
  else if (values.length > maxExitCodes) errors.push(tooMany(`${at}.values`, values.length, maxExitCodes));
  const seen = new Set<number>();
  for (const [index, value] of values.entries()) {
    if (value === 0 && operator === "In")
      errors.push(invalid(`${at}.values[${index}]`, 0, "must not be 0 for the In operator"));
    if (seen.has(value)) errors.push(duplicate(`${at}.values[${index}]`, value));
    seen.add(value);
  }
  if (values.some((value, index) => index > 0 && value < values[index - 1]!))
    errors.push(invalid(`${at}.values`, values, "must be ordered"));
  return errors;
}

function validateConditions(patterns: readonly k8s.PodFailurePolicyOnPodConditionsPattern[], at: string): FieldError[] {
  return [
    ...(patterns.length > maxRules ? [tooMany(at, patterns.length, maxRules)] : []),
    ...each(patterns, at, ({ type, status }, here) => [
      ...named(`${here}.type`, type ?? "", isQualifiedName),
      ...(status
        ? oneOf(`${here}.status`, status, statuses)
        : [required(`${here}.status`, `valid values: ${goList(statuses)}`)]),
    ]),
  ];
}

function validateSuccess({ successPolicy: policy, completionMode, completions }: JobSpec, at: string): FieldError[] {
  if (policy === undefined) return [];
  if (completionMode !== "Indexed") return [invalid(at, policy, "requires indexed completion mode")];
  const rules = policy.rules ?? [];
  if (rules.length === 0)
    return [required(`${at}.rules`, "at least one rules must be specified when the successPolicy is specified")];
  return [
    ...(rules.length > maxRules ? [tooMany(`${at}.rules`, rules.length, maxRules)] : []),
    ...each(rules, `${at}.rules`, ({ succeededCount: count, succeededIndexes }, here) => {
      if (count === undefined && succeededIndexes === undefined)
        return [required(here, "at least one of succeededCount or succeededIndexes must be specified")];
      const errors = nonNegative(`${here}.succeededCount`, count);
      if (count !== undefined && completions !== undefined && count > completions)
        errors.push(
          invalid(
            `${here}.succeededCount`,
            count,
            `must be less than or equal to ${completions} (the number of specified completions)`,
          ),
        );
      return errors;
    }),
  ];
}
