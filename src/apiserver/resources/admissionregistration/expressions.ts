import type { k8s, KubeObject } from "../../../api/index.ts";
import { admissionVariables, celTypes, checkCel } from "../../../cel/index.ts";
import type { CelType } from "../../../cel/index.ts";
import type { FieldError } from "../../machinery/kind.ts";
import { invalid } from "../shared/field-errors.ts";

const { dyn } = celTypes;

/** One expression of a policy or webhook, with the types that it may have. */
interface Place {
  readonly at: string;
  readonly expression: string | undefined;
  readonly variables: Readonly<Record<string, CelType>>;
  readonly wanted: readonly string[];
}

/** Expressions must be well typed when they are written; what was there before stays, whatever this version thinks of it. */
export function validateHookExpressions(object: KubeObject, old: KubeObject | undefined): FieldError[] {
  const variables = admissionVariables({ hasAuthorizer: true });
  const hooks = (object as k8s.ValidatingWebhookConfiguration).webhooks ?? [];
  return check(
    hooks.flatMap(({ matchConditions }, at) =>
      conditions(matchConditions, `webhooks[${at}].matchConditions`, variables),
    ),
    old,
  );
}

export function validatePolicyExpressions(object: KubeObject, old: KubeObject | undefined): FieldError[] {
  const { spec = {} } = object as k8s.ValidatingAdmissionPolicy;
  const params = spec.paramKind === undefined ? undefined : dyn;
  const known: Record<string, CelType> = {};
  const variablesFor = (hasAuthorizer: boolean) =>
    admissionVariables({ hasAuthorizer, params, variables: { ...known } });
  const declared = (spec.variables ?? []).map(({ name, expression }, at): Place => {
    const place = { at: `spec.variables[${at}].expression`, expression, variables: variablesFor(true), wanted: [] };
    known[name] = checkCel(expression ?? "", place.variables).checked?.type ?? dyn;
    return place;
  });
  const [all, withoutAuthorizer] = [variablesFor(true), variablesFor(false)];
  const validations = (spec.validations ?? []).flatMap(({ expression, messageExpression }, index): Place[] => {
    const at = `spec.validations[${index}]`;
    return [
      { at: `${at}.expression`, expression, variables: all, wanted: ["bool"] },
      {
        at: `${at}.messageExpression`,
        expression: messageExpression,
        variables: withoutAuthorizer,
        wanted: ["string"],
      },
    ];
  });
  const annotations = (spec.auditAnnotations ?? []).map(({ valueExpression }, index): Place => {
    const at = `spec.auditAnnotations[${index}].valueExpression`;
    return { at, expression: valueExpression, variables: all, wanted: ["string", "null"] };
  });
  const first = conditions(
    spec.matchConditions,
    "spec.matchConditions",
    admissionVariables({ hasAuthorizer: true, params }),
  );
  return check([...first, ...declared, ...validations, ...annotations], old);
}

const conditions = (
  given: readonly k8s.MatchCondition[] | undefined,
  at: string,
  variables: Place["variables"],
): Place[] =>
  (given ?? []).map(({ expression }, index) => ({
    at: `${at}[${index}].expression`,
    expression,
    variables,
    wanted: ["bool"],
  }));

function check(places: readonly Place[], old: KubeObject | undefined): FieldError[] {
  const before = JSON.stringify(old ?? {});
  return places.flatMap(({ at, expression, variables, wanted }) => {
    if (expression === undefined || before.includes(JSON.stringify(expression))) return [];
    const { checked, problem } = checkCel(expression, variables);
    if (checked === undefined || problem !== undefined)
      return [invalid(at, expression, `compilation failed: ${problem}`)];
    const { name, kind } = checked.type;
    if (wanted.length === 0 || wanted.includes(name)) return [];
    const types = wanted.map((type) => (type === "null" ? "null_type" : type));
    const given = kind === "dyn" ? "dyn" : name;
    const must = types.length === 1 ? types[0] : `one of [${types.join(" ")}]`;
    return [invalid(at, expression, `must evaluate to ${must} but got ${given}`)];
  });
}
