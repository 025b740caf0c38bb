import type { k8s, KubeObject } from "../../api/index.ts";
import { Budget, celMessage, compileCel, toCel } from "../../cel/index.ts";
import type { AdmissionRequest, Authorizer } from "../machinery/pipeline.ts";
import { Decisions } from "./decisions.ts";
import type { Matched } from "./equivalents.ts";

const runOut = "validation failed due to running out of cost budget, no further validation rules will be run";
const shownOfNamespaces = [
  "name",
  "generateName",
  "namespace",
  "labels",
  "annotations",
  "uid",
  "creationTimestamp",
  "deletionTimestamp",
  "deletionGracePeriodSeconds",
  "generation",
  "resourceVersion",
  "finalizers",
];

/** The expressions of one policy or webhook about one request: what they may speak of, and how they are run. */
export class Expressions {
  readonly #known: Record<string, unknown>;
  readonly #decisions: Decisions;

  constructor(options: {
    readonly request: AdmissionRequest;
    readonly matched: Matched;
    readonly authorizers: readonly Authorizer[];
    readonly params?: KubeObject;
    readonly namespace?: KubeObject;
    /** Worked out when first asked for, in terms of those before them. */
    readonly variables?: readonly k8s.Variable[];
  }) {
    const { request, matched, params, namespace, variables = [] } = options;
    this.#decisions = new Decisions(options.authorizers, request);
    this.#known = {
      object: toCel(matched.object ?? null, undefined),
      oldObject: toCel(matched.oldObject ?? null, undefined),
      params: toCel(params ?? null, undefined),
      namespaceObject: toCel(namespace === undefined ? null : shown(namespace), undefined),
      request: requestOf(request, matched),
      authorizer: this.#decisions.authorizer,
    };
    this.#known["variables"] = lazily(variables, this.#known);
  }

  /** The value of an expression; undefined budget: its own limit alone. Throws what went wrong in upstream's sentence. */
  async evaluate(expression: string, budget?: Budget): Promise<unknown> {
    const assertLeft = () => {
      if (budget?.isSpent) throw new Error(runOut);
    };
    assertLeft();
    let value: unknown;
    // Runs that ended at a question to the authorizers cost nothing: upstream waits in the middle of one.
    let cost = new Budget();
    try {
      value = await this.#decisions.settle(() => compileCel(expression)(this.#known, (cost = new Budget())));
    } catch (error) {
      throw new Error(`expression '${expression}' resulted in error: ${celMessage(error)}`, { cause: error });
    } finally {
      budget?.take(cost.taken);
    }
    assertLeft();
    return value;
  }

  /**
   * Whether all conditions hold: one that is false decides, whatever went wrong with the others. Throws what went wrong otherwise
   * (https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#matching-requests-matchconditions).
   */
  async allHold(conditions: readonly k8s.MatchCondition[], budget: Budget): Promise<boolean> {
    const problems: string[] = [];
    for (const { expression } of conditions) {
      try {
        if ((await this.evaluate(expression, budget)) !== true) return false;
      } catch (error) {
        problems.push((error as Error).message);
      }
    }
    if (problems.length === 0) return true;
    throw new Error(problems.length === 1 ? problems[0] : `[${problems.join(", ")}]`);
  }
}

function shown({ metadata, ...rest }: KubeObject): object {
  const fields = Object.entries(metadata).filter(([name]) => shownOfNamespaces.includes(name));
  return { metadata: Object.fromEntries(fields), spec: rest["spec"], status: rest["status"] };
}

function requestOf(request: AdmissionRequest, { kind, resource }: Matched): object {
  const { subresource, name, namespace, operation, user, dryRun, options } = request;
  return {
    kind,
    resource,
    subResource: subresource,
    requestKind: request.kind,
    requestResource: request.resource,
    requestSubResource: subresource,
    name,
    namespace,
    operation,
    userInfo: {
      username: user.name,
      uid: user.uid ?? "",
      groups: [...user.groups],
      extra: toCel(user.extra ?? {}, undefined),
    },
    dryRun,
    options: toCel(options, undefined),
  };
}

function lazily(variables: readonly k8s.Variable[], known: Record<string, unknown>): Record<string, unknown> {
  const values: Record<string, unknown> = {};
  for (const { name, expression } of variables) {
    Object.defineProperty(values, name, {
      enumerable: true,
      configurable: true,
      get() {
        const value = compileCel(expression)(known);
        Object.defineProperty(values, name, { value, enumerable: true });
        return value;
      },
    });
  }
  return values;
}
