import type { k8s, UserInfo } from "../../api/index.ts";
import type { Informer, Stored } from "../../client/index.ts";
import type { ClusterState } from "../cluster-state.ts";
import type { AuthorizationAttributes, AuthorizationDecision, Authorizer } from "../machinery/pipeline.ts";
import { ruleAllows } from "./rules.ts";

interface Binding {
  metadata: { namespace?: string };
  roleRef: k8s.RoleRef;
  subjects?: readonly k8s.Subject[];
}

/** Under which names a binding is found: `User:jane`, `Group:dev`; a service account is the user that it acts as. */
function subjectKeys({ subjects = [], metadata }: Binding): string[] {
  return subjects.map(({ kind, name, namespace }) =>
    kind === "ServiceAccount"
      ? `User:system:serviceaccount:${namespace ?? metadata.namespace}:${name}`
      : `${kind}:${name}`,
  );
}

const keysOf = (user: UserInfo): string[] => [`User:${user.name}`, ...user.groups.map((group) => `Group:${group}`)];

/** https://kubernetes.io/docs/reference/access-authn-authz/rbac/: purely additive; what no rule allows is not allowed. */
export class RbacAuthorizer implements Authorizer {
  readonly #state: ClusterState;
  #sources: Promise<Sources> | undefined;
  #loaded: Sources | undefined;

  constructor(state: ClusterState) {
    this.#state = state;
  }

  authorize(attributes: AuthorizationAttributes): AuthorizationDecision | Promise<AuthorizationDecision> {
    if (this.#loaded !== undefined) return this.#decide(attributes, this.#loaded);
    return this.#load().then((sources) => this.#decide(attributes, sources));
  }

  /** Every rule that holds for the user in the namespace ("" for the cluster's only), for SelfSubjectRulesReview. */
  async rulesFor(user: UserInfo, namespace: string): Promise<k8s.PolicyRule[]> {
    return [...rulesOf(await this.#load(), user, namespace)];
  }

  #decide(attributes: AuthorizationAttributes, sources: Sources): AuthorizationDecision {
    for (const rule of rulesOf(sources, attributes.user, attributes.namespace))
      if (ruleAllows(rule, attributes)) return { allowed: true };
    return { allowed: false };
  }

  #load(): Promise<Sources> {
    return (this.#sources ??= this.#open());
  }

  async #open(): Promise<Sources> {
    const { clusterRoles, roles, clusterRoleBindings, roleBindings } = this.#state;
    const [cluster, local, clusterBindings, localBindings] = await Promise.all([
      clusterRoles.ready(),
      roles.ready(),
      clusterRoleBindings.ready(),
      roleBindings.ready(),
    ]);
    clusterBindings.addIndex("subject", (binding) => subjectKeys(binding as Binding));
    localBindings.addIndex("subject", (binding) =>
      subjectKeys(binding as Binding).map((key) => `${binding.metadata.namespace}/${key}`),
    );
    return (this.#loaded = { cluster, local, clusterBindings, localBindings });
  }
}

interface Sources {
  readonly cluster: Informer<k8s.ClusterRole>;
  readonly local: Informer<k8s.Role>;
  readonly clusterBindings: Informer<k8s.ClusterRoleBinding>;
  readonly localBindings: Informer<k8s.RoleBinding>;
}

function* rulesOf(sources: Sources, user: UserInfo, namespace: string): Generator<k8s.PolicyRule> {
  const keys = keysOf(user);
  for (const key of keys)
    for (const binding of sources.clusterBindings.byIndex("subject", key))
      yield* sources.cluster.get(binding.roleRef.name)?.rules ?? [];
  if (namespace === "") return;
  for (const key of keys)
    for (const binding of sources.localBindings.byIndex("subject", `${namespace}/${key}`))
      yield* rulesOfLocal(sources, binding);
}

function rulesOfLocal(sources: Sources, { roleRef, metadata }: Stored<k8s.RoleBinding>): readonly k8s.PolicyRule[] {
  if (roleRef.kind === "ClusterRole") return sources.cluster.get(roleRef.name)?.rules ?? [];
  return sources.local.get(`${metadata.namespace}/${roleRef.name}`)?.rules ?? [];
}
