import type { k8s } from "../../api/index.ts";
import { messageOf } from "../../base/index.ts";
import { Budget, PER_MATCH_CONDITIONS, PER_OBJECT } from "../../cel/index.ts";
import { Expressions } from "./policy-variables.ts";

type Spec = k8s.ValidatingAdmissionPolicySpec;
type Options = Omit<ConstructorParameters<typeof Expressions>[0], "variables">;

/** What a policy says of one request with one object of parameters. */
export interface Verdict {
  readonly failures: readonly { readonly message: string; readonly reason?: string; readonly index: number }[];
  readonly annotations: readonly { readonly key: string; readonly value: string }[];
  /** What is wrong with annotations denies whatever the binding says. */
  readonly annotationProblems: readonly string[];
}

/** The longest message that an expression may make. Units: bytes. */
const maxMessageBytes = 5 * 1024;
const nothing: Verdict = { failures: [], annotations: [], annotationProblems: [] };

export async function verdictOf(spec: Spec, options: Options): Promise<Verdict> {
  const ignores = spec.failurePolicy === "Ignore";
  const expressions = new Expressions({ ...options, variables: spec.variables });
  try {
    if (!(await expressions.allHold(spec.matchConditions ?? [], new Budget(PER_MATCH_CONDITIONS)))) return nothing;
  } catch (error) {
    return ignores ? nothing : { ...nothing, failures: [{ message: messageOf(error), index: 0 }] };
  }
  const budget = new Budget(PER_OBJECT);
  const failures: { message: string; reason?: string; index: number }[] = [];
  for (const [index, validation] of (spec.validations ?? []).entries()) {
    try {
      if ((await expressions.evaluate(validation.expression, budget)) === true) continue;
    } catch (error) {
      if (!ignores) failures.push({ message: messageOf(error), index });
      continue;
    }
    failures.push({ message: await messageFor(validation, expressions, budget), reason: validation.reason, index });
  }
  return { failures, ...(await annotate(spec, expressions, ignores)) };
}

async function messageFor(
  { expression, message, messageExpression }: k8s.Validation,
  expressions: Expressions,
  budget: Budget,
): Promise<string> {
  const fixed = message?.trim() || `failed expression: ${expression.trim()}`;
  if (messageExpression === undefined) return fixed;
  try {
    const made = await expressions.evaluate(messageExpression, budget);
    const text = typeof made === "string" ? made.trim() : "";
    return text === "" || text.length > maxMessageBytes || text.includes("\n") ? fixed : text;
  } catch {
    return fixed; // Upstream does the same.
  }
}

/** What the policy has to say for the audit log, whatever it decides. A value of null says nothing. */
async function annotate(
  { auditAnnotations = [] }: Spec,
  expressions: Expressions,
  ignores: boolean,
): Promise<Pick<Verdict, "annotations" | "annotationProblems">> {
  const annotations: { key: string; value: string }[] = [];
  const annotationProblems: string[] = [];
  const budget = new Budget(PER_OBJECT);
  for (const { key, valueExpression } of auditAnnotations) {
    try {
      const value = await expressions.evaluate(valueExpression, budget);
      if (typeof value === "string" && value.trim() !== "") annotations.push({ key, value: value.trim() });
      else if (value !== null && typeof value !== "string")
        annotationProblems.push(
          `valueExpression '${valueExpression}' resulted in unsupported return type: ${typeof value}. Return type must be either string or null.`,
        );
    } catch (error) {
      if (!ignores) annotationProblems.push(messageOf(error));
    }
  }
  return { annotations, annotationProblems };
}
