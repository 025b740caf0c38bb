import { Optional } from "@marcbachmann/cel-js";

import type { k8s } from "../../api/index.ts";
import { Budget, celMessage, compileCel, CostExceeded, PER_OBJECT, toCel } from "../../cel/index.ts";
import type { JsonSchema } from "../../cel/index.ts";
import type { FieldError } from "../machinery/kind.ts";
import { invalid } from "../resources/shared/field-errors.ts";

type Props = k8s.JSONSchemaProps;

/** The longest message that an expression may make. Units: bytes. */
const maxMessageBytes = 5 * 1024;
const runOut = "validation failed due to running out of cost budget, no further validation rules will be run";

/**
 * `x-kubernetes-validations` (https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules).
 * `old` is undefined on create: rules that speak of oldSelf then don't run. What all rules cost together is bounded; the one that has
 * spent it is the last.
 */
export function validateRules(value: unknown, old: unknown, props: Props | undefined, path: string): FieldError[] {
  return new RuleRun().validate(value, old, props, path);
}

class RuleRun {
  readonly #budget = new Budget(PER_OBJECT);
  #isOver = false;

  validate(value: unknown, old: unknown, props: Props | undefined, path: string): FieldError[] {
    if (props === undefined || value === undefined || value === null) return [];
    const rules = ((props as Record<string, unknown>)["x-kubernetes-validations"] ?? []) as k8s.ValidationRule[];
    const errors = rules.flatMap((rule) => this.#checkRule(rule, value, old, props, path));
    if (Array.isArray(value)) {
      const items = props.items as Props | undefined;
      for (const [index, item] of value.entries())
        errors.push(...this.validate(item, counterpart(item, old, props), items, `${path}[${index}]`));
    } else if (typeof value === "object") {
      for (const [name, item] of Object.entries(value)) {
        const extra = typeof props.additionalProperties === "object" ? props.additionalProperties : undefined;
        const inner = props.properties?.[name] ?? extra;
        const before = (old as Record<string, unknown> | null | undefined)?.[name];
        errors.push(...this.validate(item, before, inner, path === "" ? name : `${path}.${name}`));
      }
    }
    return errors;
  }

  #checkRule(rule: k8s.ValidationRule, value: unknown, old: unknown, props: Props, path: string): FieldError[] {
    if (this.#isOver) return [];
    const isTransition = /\boldSelf\b/.test(rule.rule);
    if (isTransition && old === undefined && rule.optionalOldSelf !== true) return [];
    const where = rule.fieldPath === undefined ? path || "<nil>" : path + rule.fieldPath;
    const type = props.type ?? "object";
    const end = (why: string): FieldError[] => {
      this.#isOver = true;
      return [invalid(where, type, why)];
    };
    const variables: Record<string, unknown> = { self: toCel(value, props as JsonSchema) };
    if (isTransition) variables["oldSelf"] = former(rule, old, props);
    try {
      if (compileCel(rule.rule)(variables, this.#budget) === true) return this.#budget.isSpent ? end(runOut) : [];
      return [failure(rule, where, type, this.#messageOf(rule, variables))];
    } catch (error) {
      const shown = rule.message || rule.rule.trim();
      const why = celMessage(error);
      if (error instanceof CostExceeded)
        return end(
          `'${why}': no further validation rules will be run due to call cost exceeds limit for rule: ${shown}`,
        );
      if (!why.startsWith("no such overload")) return [invalid(where, type, `${why} evaluating rule: ${shown}`)];
      const unmatched = "call arguments did not match a supported operator, function or macro signature for rule";
      return [invalid(where, type, `'${why}': ${unmatched}: ${shown}`)];
    }
  }

  #messageOf(rule: k8s.ValidationRule, variables: Record<string, unknown>): string {
    if (rule.messageExpression !== undefined) {
      try {
        const text = compileCel(rule.messageExpression)(variables, this.#budget);
        if (typeof text === "string" && text.trim() !== "" && !text.includes("\n") && text.length <= maxMessageBytes)
          return text;
      } catch {
        // Upstream falls back to the fixed message too.
      }
    }
    return rule.message?.trim() || `failed rule: ${rule.rule.trim()}`;
  }
}

function former({ optionalOldSelf }: k8s.ValidationRule, old: unknown, props: Props): unknown {
  if (optionalOldSelf !== true) return toCel(old, props as JsonSchema);
  return old === undefined ? Optional.none() : Optional.of(toCel(old, props as JsonSchema));
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

function failure({ reason }: k8s.ValidationRule, where: string, type: string, detail: string): FieldError {
  if (reason === "FieldValueRequired") return { type: reason, field: where, detail: `Required value: ${detail}` };
  if (reason === "FieldValueForbidden") return { type: reason, field: where, detail: `Forbidden: ${detail}` };
  return invalid(where, type, detail);
}
