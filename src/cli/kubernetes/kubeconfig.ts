interface Named {
  readonly name: string;
}
/** https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/; fields that are not ours are kept as they are. */
export interface Kubeconfig {
  readonly clusters?: readonly Named[];
  readonly contexts?: ReadonlyArray<Named & { context: Record<string, string> }>;
  readonly users?: readonly Named[];
  readonly "current-context"?: string;
  readonly [other: string]: unknown;
}

/** The other's cluster, user and context under `name` in place of former ones of that name, and current. Everything else stays. */
export function mergeKubeconfig(own: Kubeconfig, other: Kubeconfig, name: string): Kubeconfig {
  const put = <T extends Named>(mine: readonly T[] | undefined, theirs: readonly T[] | undefined): T[] => [
    ...(mine ?? []).filter((entry) => entry.name !== name),
    ...(theirs ?? []).slice(0, 1).map((entry) => ({ ...entry, name })),
  ];
  return {
    apiVersion: "v1",
    kind: "Config",
    preferences: {},
    ...own,
    clusters: put(own.clusters, other.clusters),
    contexts: put(own.contexts, other.contexts).map((entry) =>
      entry.name === name ? { ...entry, context: { ...entry.context, cluster: name, user: name } } : entry,
    ),
    users: put(own.users, other.users),
    "current-context": name,
  };
}
