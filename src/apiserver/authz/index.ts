import type { Clock, Logger } from "../../base/index.ts";
import type { ClusterState } from "../cluster-state.ts";
import type { Authorizer } from "../machinery/pipeline.ts";
import { chooseAuthorizers, type AuthorizationOptions, type AuthorizerChoice } from "./configuration.ts";
import { NodeAuthorizer } from "./node.ts";
import { RbacAuthorizer } from "./rbac.ts";

export { RbacAuthorizer } from "./rbac.ts";
export { type AuthorizationOptions } from "./configuration.ts";

/** Members may do everything, whatever the roles say, so that nobody locks themselves out. */
const masters: Authorizer = {
  authorize: ({ user }) => ({ allowed: user.groups.includes("system:masters") }),
};
const always = (allowed: boolean): Authorizer => ({
  authorize: () => (allowed ? { allowed } : { allowed, reason: "Everything is forbidden." }),
});

const usual: readonly AuthorizerChoice[] = [{ type: "Node" }, { type: "RBAC" }];

interface Context {
  readonly state: ClusterState;
  readonly clock: Clock;
  readonly log: Logger;
}

/** The chain as upstream runs it: masters, then what was chosen: Node and RBAC, unless somebody said otherwise. */
export async function createAuthorizers(
  { state, clock, log }: Context,
  options: AuthorizationOptions = {},
): Promise<{ authorizers: Authorizer[]; rbac: RbacAuthorizer }> {
  const choices = (await chooseAuthorizers(options)) ?? usual;
  const rbac = new RbacAuthorizer(state);
  const make = async (choice: AuthorizerChoice): Promise<Authorizer> => {
    // Its file's parser and CEL are loaded only where there is one.
    if (choice.type === "Webhook")
      return (await import("./webhook.ts")).WebhookAuthorizer.open(choice.webhook, clock, log);
    if (choice.type === "Node") return new NodeAuthorizer(state);
    return choice.type === "RBAC" ? rbac : always(choice.type === "AlwaysAllow");
  };
  return { authorizers: [masters, ...(await Promise.all(choices.map(make)))], rbac };
}
