import type { Environment } from "@marcbachmann/cel-js";

import { spend } from "../budget.ts";

const CHECK = 350_000;

/** What an expression wants to know of the authorizers. */
export interface Question {
  readonly verb: string;
  /** "system:serviceaccount:…", or undefined for whoever makes the request. */
  readonly serviceAccount?: { readonly namespace: string; readonly name: string };
  /** Of a check that is about no resource. */
  readonly path?: string;
  readonly group?: string;
  readonly resource?: string;
  readonly subresource?: string;
  readonly namespace?: string;
  readonly name?: string;
  readonly fieldSelector?: string;
  readonly labelSelector?: string;
}

export interface Answer {
  readonly allowed: boolean;
  readonly reason: string;
  readonly error?: string;
}

export type Ask = (question: Question) => Answer;

type Known = Partial<Question>;

/** The steps to a question: each is a type of its own, so that a name asks nothing before its resource does. */
class Step {
  readonly ask: Ask;
  readonly known: Known;
  constructor(ask: Ask, known: Known = {}) {
    this.ask = ask;
    this.known = known;
  }
}
export class ResourceCheck extends Step {}
/** The variable `authorizer`; whoever makes it says what its own request is about. */
export class Authorizer extends Step {
  readonly requestResource: ResourceCheck;
  constructor(ask: Ask, known: Known & { readonly requestResource?: Known } = {}) {
    const { requestResource, ...rest } = known;
    super(ask, rest);
    this.requestResource = new ResourceCheck(ask, requestResource);
  }
}
class PathCheck extends Step {}
class GroupCheck extends Step {}
class Decision {
  readonly answer: Answer;
  constructor(answer: Answer) {
    this.answer = answer;
  }
}

function check({ ask, known }: Step, verb: string): Decision {
  spend(CHECK);
  return new Decision(ask({ ...known, verb }));
}

/** https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-authorizer-library */
export function addAuthorizer(environment: Environment): Environment {
  const name = (type: string) => `kubernetes.authorization.${type}`;
  const [authorizer, path, group, resource, decision] = [
    "Authorizer",
    "PathCheck",
    "GroupCheck",
    "ResourceCheck",
    "Decision",
  ].map(name);
  environment
    .registerType(authorizer!, Authorizer)
    .registerType(path!, PathCheck)
    .registerType(group!, GroupCheck)
    .registerType(resource!, ResourceCheck)
    .registerType(decision!, Decision)
    .registerFunction(
      `${authorizer}.serviceAccount(string, string): ${authorizer}`,
      (from: Authorizer, namespace: string, account: string) =>
        new Authorizer(from.ask, { serviceAccount: { namespace, name: account } }),
    )
    .registerFunction(
      `${authorizer}.path(string): ${path}`,
      (from: Authorizer, at: string) => new PathCheck(from.ask, { ...from.known, path: at }),
    )
    .registerFunction(
      `${authorizer}.group(string): ${group}`,
      (from: Authorizer, of: string) => new GroupCheck(from.ask, { ...from.known, group: of }),
    )
    .registerFunction(
      `${group}.resource(string): ${resource}`,
      (from: GroupCheck, of: string) => new ResourceCheck(from.ask, { ...from.known, resource: of }),
    )
    .registerFunction(`${path}.check(string): ${decision}`, check)
    .registerFunction(`${resource}.check(string): ${decision}`, check)
    .registerFunction(`${decision}.allowed(): bool`, ({ answer }: Decision) => answer.allowed)
    .registerFunction(`${decision}.errored(): bool`, ({ answer }: Decision) => answer.error !== undefined)
    .registerFunction(`${decision}.reason(): string`, ({ answer }: Decision) => answer.reason)
    .registerFunction(`${decision}.error(): string`, ({ answer }: Decision) => answer.error ?? "");
  for (const field of ["subresource", "namespace", "name", "fieldSelector", "labelSelector"])
    environment.registerFunction(
      `${resource}.${field}(string): ${resource}`,
      (from: ResourceCheck, value: string) => new ResourceCheck(from.ask, { ...from.known, [field]: value }),
    );
  return environment;
}
