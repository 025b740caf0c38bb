import type { UserInfo } from "../../api/index.ts";
import { messageOf } from "../../base/index.ts";
import { Authorizer as CelAuthorizer } from "../../cel/index.ts";
import type { Answer, Question } from "../../cel/index.ts";
import { serviceAccountUser } from "../authn/service-account-tokens.ts";
import { decide } from "../machinery/authorize.ts";
import type { AdmissionRequest, Authorizer } from "../machinery/pipeline.ts";

/**
 * What expressions ask of the authorizers. Expressions don't wait, authorizers may: a question that has no answer yet ends the expression,
 * which is run once more when the answers are there. Each question is asked once for a request.
 */
export class Decisions {
  readonly #answers = new Map<string, Answer>();
  readonly #open = new Map<string, Question>();
  readonly #authorizers: readonly Authorizer[];
  readonly #request: AdmissionRequest;
  /** The variable `authorizer`. */
  readonly authorizer: CelAuthorizer;

  constructor(authorizers: readonly Authorizer[], request: AdmissionRequest) {
    this.#authorizers = authorizers;
    this.#request = request;
    const { resource, subresource, namespace, name } = request;
    this.authorizer = new CelAuthorizer((question) => this.#ask(question), {
      requestResource: { group: resource.group, resource: resource.resource, subresource, namespace, name },
    });
  }

  /** Runs it until nothing is left to ask. */
  async settle<T>(run: () => T): Promise<T> {
    for (;;) {
      let result: { readonly value: T } | { readonly error: unknown };
      try {
        result = { value: run() };
      } catch (error) {
        result = { error };
      }
      if (this.#open.size === 0) {
        if ("error" in result) throw result.error;
        return result.value;
      }
      const open = [...this.#open];
      this.#open.clear();
      await Promise.all(open.map(async ([key, question]) => this.#answers.set(key, await this.#decide(question))));
    }
  }

  #ask(question: Question): Answer {
    const key = JSON.stringify(question);
    const answer = this.#answers.get(key);
    if (answer !== undefined) return answer;
    this.#open.set(key, question);
    throw new Error("the authorizers have not answered yet");
  }

  async #decide(question: Question): Promise<Answer> {
    const {
      verb,
      path,
      serviceAccount,
      group = "",
      resource = "",
      subresource = "",
      namespace = "",
      name = "",
    } = question;
    const user: UserInfo =
      serviceAccount === undefined
        ? this.#request.user
        : serviceAccountUser(serviceAccount.namespace, serviceAccount.name);
    const about = { group, resource, subresource, namespace, name };
    const attributes = {
      ...about,
      user,
      verb: path === undefined ? verb : verb.toLowerCase(),
      isResource: path === undefined,
      path: path ?? "",
      version: path === undefined ? "*" : "",
      tail: "",
      ...(question.fieldSelector === undefined ? {} : { fieldSelector: question.fieldSelector }),
      ...(question.labelSelector === undefined ? {} : { labelSelector: question.labelSelector }),
    };
    try {
      const { allowed, reason = "" } = await decide(this.#authorizers, attributes);
      return { allowed, reason };
    } catch (error) {
      return { allowed: false, reason: "", error: messageOf(error) };
    }
  }
}
