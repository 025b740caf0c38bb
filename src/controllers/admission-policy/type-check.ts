import type { k8s } from "../../api/index.ts";
import { admissionVariables, celTypes, checkCel, typeOfSchema } from "../../cel/index.ts";
import type { CelType } from "../../cel/index.ts";
import type { GroupVersionKind, PublishedSchemas } from "./schemas.ts";

type Policy = k8s.ValidatingAdmissionPolicy;

/** Upstream looks at so many kinds of one rule. */
const maxKinds = 10;

interface Checked {
  readonly gvk: GroupVersionKind;
  readonly type: CelType;
}

/**
 * What is wrong with a policy's expressions by the types of the objects that it is about
 * (https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/#type-checking). Rules with wildcards say nothing of types.
 */
export async function typeCheck({ spec = {} }: Policy, schemas: PublishedSchemas): Promise<k8s.ExpressionWarning[]> {
  const kinds = await kindsOf(spec.matchConstraints?.resourceRules ?? [], schemas);
  const checked: Checked[] = [];
  for (const gvk of kinds) {
    const type = await typeOf(gvk, schemas);
    if (type !== undefined) checked.push({ gvk, type });
  }
  const params = spec.paramKind && ((await typeOf(kindOfParams(spec.paramKind), schemas)) ?? celTypes.dyn);
  return (spec.validations ?? []).flatMap(({ expression, messageExpression }, index) =>
    [
      { field: "expression", text: expression },
      { field: "messageExpression", text: messageExpression },
    ].flatMap(({ field, text }) => {
      const warnings = checked.flatMap(({ gvk, type }) => warningOf(text, gvk, variablesOf(spec, type, params)));
      return warnings.length === 0
        ? []
        : [{ fieldRef: `spec.validations[${index}].${field}`, warning: warnings.join("\n") }];
    }),
  );
}

function variablesOf(
  { variables = [] }: k8s.ValidatingAdmissionPolicySpec,
  object: CelType,
  params: CelType | undefined,
): Record<string, CelType> {
  const known: Record<string, CelType> = {};
  const all = () => admissionVariables({ object, params, hasAuthorizer: true, variables: { ...known } });
  for (const { name, expression } of variables) known[name] = checkCel(expression, all()).checked?.type ?? celTypes.dyn;
  return all();
}

function warningOf(
  text: string | undefined,
  { group, version, kind }: GroupVersionKind,
  variables: Record<string, CelType>,
) {
  const problem = text ? checkCel(text, variables).problem : undefined;
  const groupVersion = group === "" ? version : `${group}/${version}`;
  return problem === undefined ? [] : [`${groupVersion}, Kind=${kind}: ${problem}\n`];
}

async function typeOf(gvk: GroupVersionKind, schemas: PublishedSchemas): Promise<CelType | undefined> {
  const schema = await schemas.schemaOf(gvk);
  return schema && typeOfSchema(schema, true, gvk.kind);
}

function kindOfParams({ apiVersion = "", kind = "" }: k8s.ParamKind): GroupVersionKind {
  const [version = "", group = ""] = apiVersion.split("/").toReversed();
  return { group, version, kind };
}

/** In the order of group, version and kind. */
async function kindsOf(
  rules: readonly k8s.NamedRuleWithOperations[],
  schemas: PublishedSchemas,
): Promise<GroupVersionKind[]> {
  const found = new Map<string, GroupVersionKind>();
  for (const { apiGroups = [], apiVersions = [], resources = [] } of rules) {
    if ([...apiGroups, ...apiVersions].includes("*")) continue;
    const plain = resources.filter((resource) => !/[*/]/.test(resource));
    const named = apiGroups.flatMap((group) =>
      apiVersions.flatMap((version) => plain.map((one) => [group, version, one])),
    );
    for (const [group, version, resource] of named.slice(0, maxKinds)) {
      const gvk = await schemas.kindOf(group!, version!, resource!);
      if (gvk !== undefined) found.set(`${gvk.group}\n${gvk.version}\n${gvk.kind}`, gvk);
    }
  }
  return [...found].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, gvk]) => gvk);
}
