import type { k8s } from "../../api/index.ts";
import type { FieldError } from "../machinery/kind.ts";
import { compileCel } from "./cel-compile.ts";
import { invalid } from "../resources/shared/field-errors.ts";

type Props = k8s.JSONSchemaProps;
export const compileRule = compileCel;

/**
 * `x-kubernetes-validations` (https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules).
 * `old` is undefined on create: rules that speak of oldSelf then don't run.
 */
export function validateRules(value: unknown, old: unknown, props: Props | undefined, path: string): FieldError[] {
  if (props === undefined || value === undefined || value === null) return [];
  const rules = ((props as Record<string, unknown>)["x-kubernetes-validations"] ?? []) as k8s.ValidationRule[];
  const errors = rules.flatMap((rule) => checkRule(rule, value, old, props, path));
  if (Array.isArray(value)) {
    const items = props.items as Props | undefined;
    for (const [index, item] of value.entries())
      errors.push(...validateRules(item, counterpart(item, old, props), items, `${path}[${index}]`));
  } else if (typeof value === "object") {
    for (const [name, item] of Object.entries(value)) {
      const extra = typeof props.additionalProperties === "object" ? props.additionalProperties : undefined;
      const inner = props.properties?.[name] ?? extra;
      const before = (old as Record<string, unknown> | null | undefined)?.[name];
      errors.push(...validateRules(item, before, inner, path === "" ? name : `${path}.${name}`));
    }
  }
  return errors;
}

/** The old item of the same key; lists that are no maps have no items to compare. */
function counterpart(item: unknown, old: unknown, props: Props): unknown {
  const fields = props as Record<string, unknown>;
  if (fields["x-kubernetes-list-type"] !== "map" || !Array.isArray(old)) return undefined;
  const keys = fields["x-kubernetes-list-map-keys"] as string[];
  return old.find((candidate: Record<string, unknown>) =>
    keys.every((key) => candidate[key] === (item as Record<string, unknown>)[key]),
  );
}

function checkRule(rule: k8s.ValidationRule, value: unknown, old: unknown, props: Props, path: string): FieldError[] {
  const isTransition = /\boldSelf\b/.test(rule.rule);
  if (isTransition && old === undefined && rule.optionalOldSelf !== true) return [];
  const where = rule.fieldPath === undefined ? path || "<nil>" : path + rule.fieldPath;
  const variables: Record<string, unknown> = { self: toCel(value, props) };
  if (isTransition) variables["oldSelf"] = old === undefined ? null : toCel(old, props);
  const type = props.type ?? "object";
  try {
    if (compileRule(rule.rule)(variables) === true) return [];
    const detail = messageOf(rule, variables);
    const error = invalid(where, type, detail);
    const reason = rule.reason as FieldError["type"] | undefined;
    if (reason === "FieldValueRequired") return [{ type: reason, field: where, detail: `Required value: ${detail}` }];
    if (reason === "FieldValueForbidden") return [{ type: reason, field: where, detail: `Forbidden: ${detail}` }];
    return [error];
  } catch (error) {
    const why = (error as Error).message.split("\n")[0];
    return [invalid(where, type, `rule evaluation error: ${why}, evaluating rule: ${rule.message ?? rule.rule}`)];
  }
}

function messageOf(rule: k8s.ValidationRule, variables: Record<string, unknown>): string {
  if (rule.messageExpression !== undefined) {
    try {
      const text = compileRule(rule.messageExpression)(variables);
      if (typeof text === "string" && text.trim() !== "" && !text.includes("\n")) return text;
    } catch {
      // Upstream falls back to the fixed message too.
    }
  }
  return rule.message?.trim() || `failed rule: ${rule.rule.trim()}`;
}

/** CEL tells integers from doubles; JSON does not, but the schema does. */
export function toCel(value: unknown, props: Props | undefined): unknown {
  if (typeof value === "number") {
    const isInteger = props?.type === "integer" || (props?.type !== "number" && Number.isInteger(value));
    return isInteger && Number.isSafeInteger(value) ? BigInt(value) : value;
  }
  if (Array.isArray(value)) return value.map((item) => toCel(item, props?.items as Props | undefined));
  if (typeof value !== "object" || value === null) return value;
  const extra = typeof props?.additionalProperties === "object" ? props.additionalProperties : undefined;
  return Object.fromEntries(
    Object.entries(value).map(([name, item]) => [name, toCel(item, props?.properties?.[name] ?? extra)]),
  );
}
