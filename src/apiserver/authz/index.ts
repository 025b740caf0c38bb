import type { ClusterState } from "../cluster-state.ts";
import type { Authorizer } from "../machinery/pipeline.ts";
import { NodeAuthorizer } from "./node.ts";
import { RbacAuthorizer } from "./rbac.ts";

export { RbacAuthorizer } from "./rbac.ts";

/** Members may do everything, whatever the roles say, so that nobody locks themselves out. */
const masters: Authorizer = {
  authorize: ({ user }) => ({ allowed: user.groups.includes("system:masters") }),
};

/** The chain as upstream runs it: masters, Node, RBAC. */
export function createAuthorizers(state: ClusterState): { authorizers: Authorizer[]; rbac: RbacAuthorizer } {
  const rbac = new RbacAuthorizer(state);
  return { authorizers: [masters, new NodeAuthorizer(state), rbac], rbac };
}
