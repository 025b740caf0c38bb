import type { k8s } from "../../../api/index.ts";
import { celTypes, checkCel, estimateCost, maxCardinality, typeOfSchema } from "../../../cel/index.ts";
import type { CelType, JsonSchema } from "../../../cel/index.ts";
import type { FieldError } from "../../machinery/kind.ts";
import { forbidden, invalid, notSupported, required } from "../shared/field-errors.ts";

type Props = k8s.JSONSchemaProps & JsonSchema;
type Rule = k8s.ValidationRule;

/** What one rule, and all rules of a schema together, may cost by estimate; in the units of cel-go. */
const RULE_LIMIT = 10_000_000;
const SCHEMA_LIMIT = 100_000_000;
/** How many of the most expensive rules are named when together they are too expensive. */
const NAMED = 4;
const reasons = ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];

interface Place {
  readonly at: string;
  readonly isRoot: boolean;
  /** How often such a value is there at most; undefined where nothing bounds it. */
  readonly cardinality: number | undefined;
  /** The list or object around it whose items have no former selves. */
  readonly uncorrelatable: string | undefined;
}

/**
 * `x-kubernetes-validations` when they are written
 * (https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#resource-use-by-validation-functions):
 * each must be well typed and, by estimate, cheap enough on the largest value that the schema allows. The schema is known to be structural.
 */
export function validateRules(schema: k8s.JSONSchemaProps, at: string): FieldError[] {
  const costs: { readonly at: string; readonly cost: number }[] = [];
  const errors = [...walk(schema as Props, { at, isRoot: true, cardinality: 1, uncorrelatable: undefined }, costs)];
  const total = costs.reduce((sum, { cost }) => sum + cost, 0);
  if (total <= SCHEMA_LIMIT) return errors;
  const expensive = costs.filter(({ cost }) => cost >= SCHEMA_LIMIT / 100).toSorted((a, b) => b.cost - a.cost);
  for (const rule of expensive.slice(0, NAMED))
    errors.push(
      forbidden(rule.at, "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"),
    );
  const name = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
  return [...errors, forbidden(at, exceeds(name, total, SCHEMA_LIMIT))];
}

type Costs = { readonly at: string; readonly cost: number }[];

function* walk(schema: Props, place: Place, costs: Costs): Generator<FieldError> {
  for (const [name, inner] of Object.entries(schema.properties ?? {}))
    yield* walk(inner as Props, inside(schema, place, `properties[${name}]`), costs);
  if (typeof schema.additionalProperties === "object")
    yield* walk(schema.additionalProperties as Props, inside(schema, place, "additionalProperties"), costs);
  if (typeof schema.items === "object" && !Array.isArray(schema.items))
    yield* walk(schema.items as Props, inside(schema, place, "items"), costs);
  yield* rulesOf(schema, place, costs);
}

function inside(schema: Props, { at, cardinality, uncorrelatable }: Place, step: string): Place {
  const fields = schema as Record<string, unknown>;
  const isAtomic =
    schema.type === "array" ? fields["x-kubernetes-list-type"] !== "map" : fields["x-kubernetes-map-type"] === "atomic";
  const most = schema.type === "array" ? schema.maxItems : schema.additionalProperties ? schema.maxProperties : 1;
  return {
    at: `${at}.${step}`,
    isRoot: false,
    cardinality: cardinality === undefined || most === undefined ? undefined : cardinality * most,
    uncorrelatable: uncorrelatable ?? (isAtomic ? at : undefined),
  };
}

function* rulesOf(schema: Props, place: Place, costs: Costs): Generator<FieldError> {
  const rules = ((schema as Record<string, unknown>)["x-kubernetes-validations"] ?? []) as readonly Rule[];
  if (rules.length === 0) return;
  const self = typeOfSchema(schema, place.isRoot);
  for (const [index, rule] of rules.entries()) {
    const at = `${place.at}.x-kubernetes-validations[${index}]`;
    const malformed = checkForm(rule, at);
    yield* malformed;
    if (malformed.length === 0 && self !== undefined) yield* compile(rule, self, place, at, costs);
  }
}

const hasLineBreak = (text: string): boolean => /[\n\r]/.test(text);

function checkForm(rule: Rule, at: string): FieldError[] {
  const errors: FieldError[] = [];
  const { message = "", messageExpression = "", reason, fieldPath = "" } = rule;
  if (!rule.rule?.trim()) errors.push(required(`${at}.rule`, "rule is not specified"));
  else if (message !== "" && message.trim() === "")
    errors.push(invalid(`${at}.message`, message, "must be non-empty if specified"));
  else if (hasLineBreak(message.trim())) errors.push(invalid(`${at}.message`, message, "must not contain line breaks"));
  else if (hasLineBreak(rule.rule.trim()) && message.trim() === "")
    errors.push(required(`${at}.message`, "message must be specified if rule contains line breaks"));
  if (messageExpression !== "" && messageExpression.trim() === "")
    errors.push(required(`${at}.messageExpression`, "messageExpression must be non-empty if specified"));
  if (reason !== undefined && !reasons.includes(reason)) errors.push(notSupported(`${at}.reason`, reason, reasons));
  if (fieldPath !== "" && fieldPath.trim() === "")
    errors.push(invalid(`${at}.fieldPath`, fieldPath, "must be non-empty if specified"));
  if (hasLineBreak(fieldPath)) errors.push(invalid(`${at}.fieldPath`, fieldPath, "must not contain line breaks"));
  return errors;
}

function* compile(rule: Rule, self: CelType, place: Place, at: string, costs: Costs): Generator<FieldError> {
  const oldSelf = rule.optionalOldSelf === true ? celTypes.optionalOf(self) : self;
  const variables = { self, oldSelf };
  const { checked, problem } = checkCel(rule.rule, variables);
  if (checked === undefined || problem !== undefined)
    return yield invalid(`${at}.rule`, shown(rule), `compilation failed: ${problem}`);
  if (checked.type.name !== "bool" && checked.type.kind !== "dyn")
    return yield invalid(`${at}.rule`, shown(rule), "cel expression must evaluate to a bool");
  const roots = { self, oldSelf: self };
  const cost = estimateCost(checked, roots) * (place.cardinality ?? maxCardinality(self));
  if (cost > RULE_LIMIT) yield forbidden(`${at}.rule`, exceeds("estimated rule cost", cost, RULE_LIMIT));
  costs.push({ at: `${at}.rule`, cost });
  if (rule.messageExpression !== undefined) yield* compileMessage(rule, variables, roots, at, costs);
  if (!checked.used.has("oldSelf")) {
    if (rule.optionalOldSelf !== undefined)
      yield invalid(`${at}.optionalOldSelf`, rule.optionalOldSelf, "may not be set if oldSelf is not used in rule");
  } else if (place.uncorrelatable !== undefined) {
    const why = `oldSelf cannot be used on the uncorrelatable portion of the schema within ${place.uncorrelatable}`;
    yield invalid(`${at}.rule`, rule.rule, why);
  }
}

function* compileMessage(
  rule: Rule,
  variables: Readonly<Record<string, CelType>>,
  roots: Readonly<Record<string, CelType>>,
  at: string,
  costs: Costs,
): Generator<FieldError> {
  const field = `${at}.messageExpression`;
  const { checked, problem } = checkCel(rule.messageExpression!, variables);
  if (checked === undefined || problem !== undefined)
    return yield invalid(field, shown(rule), `messageExpression compilation failed: ${problem}`);
  if (checked.type.name !== "string" && checked.type.kind !== "dyn")
    return yield invalid(field, shown(rule), "messageExpression must evaluate to a string");
  const cost = estimateCost(checked, roots);
  if (cost > RULE_LIMIT) yield forbidden(field, exceeds("estimated messageExpression cost", cost, RULE_LIMIT));
  costs.push({ at: field, cost });
}

/** A rule as upstream prints its own type. */
const shown = ({ rule, message, messageExpression, reason, fieldPath, optionalOldSelf }: Rule): object => ({
  Rule: rule,
  Message: message ?? "",
  MessageExpression: messageExpression ?? "",
  Reason: reason ?? null,
  FieldPath: fieldPath ?? "",
  OptionalOldSelf: optionalOldSelf ?? null,
});

function exceeds(name: string, cost: number, limit: number): string {
  const by = cost / limit;
  const factor = by > 100 ? "more than 100x" : by < 1.5 ? `${by.toFixed(6)}x` : `${by.toFixed(1)}x`;
  return `${name} exceeds budget by factor of ${factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)`;
}
