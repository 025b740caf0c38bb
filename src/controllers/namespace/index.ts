import type { k8s } from "../../api/index.ts";
import { hasCode, messageOf } from "../../base/index.ts";
import { draft, resources, type AnyObject, type Resource, type Stored } from "../../client/index.ts";
import { discover } from "../common/discovery.ts";
import { sameJson, withCondition } from "../common/index.ts";
import type { Controller, ControllerContext } from "../controller.ts";

type Namespace = Stored<k8s.Namespace>;

const FINALIZER = "kubernetes";
/** How often to look whether what is being deleted has gone. */
const RECHECK_MS = 1_000;
const RECHECK_PODS_MS = 2_000;

/** Empties namespaces that are being deleted, then lets them go. https://kubernetes.io/docs/tasks/administer-cluster/namespaces/ */
export const namespaceController: Controller = {
  name: "namespace-controller",
  setup(context) {
    const namespaces = context.informer(resources.namespaces);
    const consider = (namespace: Namespace) => {
      if (namespace.metadata.deletionTimestamp) context.enqueue(namespace.metadata.name);
    };
    namespaces.onChange({ added: consider, updated: consider });
    return {
      async reconcile(key, signal) {
        const namespace = namespaces.get(key);
        if (!namespace?.metadata.deletionTimestamp || !namespace.spec?.finalizers?.includes(FINALIZER)) return;
        return empty(context, namespace, signal);
      },
    };
  },
};

interface Rest {
  /** Objects left, by resource. */
  readonly counts: Map<string, number>;
  readonly finalizers: Map<string, number>;
  readonly errors: string[];
  podsLeft: boolean;
}

async function empty(context: ControllerContext, namespace: Namespace, signal: AbortSignal) {
  const rest: Rest = { counts: new Map(), finalizers: new Map(), errors: [], podsLeft: false };
  const all = await discover(context.client, ["list", "delete"], context.log, signal);
  for (const resource of all) {
    if (resource.namespaced) await emptyOne(context, namespace.metadata.name, resource, rest, signal);
  }
  const status = {
    ...namespace.status,
    phase: "Terminating",
    conditions: conditionsOf(namespace, rest, context.clock.nowMs()),
  };
  let current = namespace;
  if (!sameJson(status, namespace.status)) {
    current = await context.client.of(resources.namespaces).updateStatus({ ...namespace, status }, { signal });
  }
  if (rest.errors.length > 0) return { requeueAfterMs: RECHECK_MS };
  if (rest.counts.size > 0) return { requeueAfterMs: rest.podsLeft ? RECHECK_PODS_MS : RECHECK_MS };
  const finalized = draft(current);
  finalized.spec!.finalizers = finalized.spec!.finalizers!.filter((name) => name !== FINALIZER);
  try {
    await context.client.of(resources.namespaces).update(finalized, { subresource: "finalize", signal });
  } catch (error) {
    if (!hasCode(error, "notFound")) throw error;
  }
}

async function emptyOne(
  context: ControllerContext,
  namespace: string,
  resource: Resource<AnyObject>,
  rest: Rest,
  signal: AbortSignal,
): Promise<void> {
  const client = context.client.of(resource);
  const name = resource.group === "" ? `${resource.plural}.` : `${resource.plural}.${resource.group}`;
  try {
    const before = await client.list({ namespace, signal });
    if (before.items.length === 0) return;
    await client.deleteCollection({ namespace }, { propagationPolicy: "Background", signal });
    const { items } = await client.list({ namespace, signal });
    if (items.length === 0) return;
    rest.counts.set(name, items.length);
    if (resource.plural === "pods") rest.podsLeft = true;
    for (const { metadata } of items) {
      for (const finalizer of metadata.finalizers ?? [])
        rest.finalizers.set(finalizer, (rest.finalizers.get(finalizer) ?? 0) + 1);
    }
  } catch (error) {
    if (!hasCode(error, "notFound", "notImplemented")) rest.errors.push(`${name}: ${messageOf(error)}`);
  }
}

function conditionsOf(namespace: Namespace, rest: Rest, nowMs: number): k8s.NamespaceCondition[] {
  const list = (map: ReadonlyMap<string, number>, word: string) =>
    [...map]
      .sort(([left], [right]) => (left < right ? -1 : 1))
      .map(([name, count]) => `${name} has ${count} ${word}`)
      .join(", ");
  const left = list(rest.counts, "resource instances");
  const held = list(rest.finalizers, "").replaceAll(/ has (\d+) /g, " in $1 resource instances");
  const rows: [
    type: string,
    bad: boolean,
    badReason: string,
    badMessage: string,
    goodReason: string,
    goodMessage: string,
  ][] = [
    [
      "NamespaceDeletionDiscoveryFailure",
      false,
      "DiscoveryFailed",
      "",
      "ResourcesDiscovered",
      "All resources successfully discovered",
    ],
    [
      "NamespaceDeletionGroupVersionParsingFailure",
      false,
      "GroupVersionParsingFailed",
      "",
      "ParsedGroupVersions",
      "All legacy kube types successfully parsed",
    ],
    [
      "NamespaceDeletionContentFailure",
      rest.errors.length > 0,
      "ContentDeletionFailed",
      `Failed to delete all resource types, ${rest.errors.length} remaining: ${rest.errors.join(", ")}`,
      "ContentDeleted",
      "All content successfully deleted, may be waiting on finalization",
    ],
    [
      "NamespaceContentRemaining",
      rest.counts.size > 0,
      "SomeResourcesRemain",
      `Some resources are remaining: ${left}`,
      "ContentRemoved",
      "All content successfully removed",
    ],
    [
      "NamespaceFinalizersRemaining",
      rest.finalizers.size > 0,
      "SomeFinalizersRemain",
      `Some content in the namespace has finalizers remaining: ${held}`,
      "ContentHasNoFinalizers",
      "All content-preserving finalizers finished",
    ],
  ];
  let conditions = namespace.status?.conditions ?? [];
  for (const [type, bad, badReason, badMessage, goodReason, goodMessage] of rows) {
    const condition = bad
      ? { type, status: "True", reason: badReason, message: badMessage }
      : { type, status: "False", reason: goodReason, message: goodMessage };
    conditions = withCondition(conditions, condition, nowMs);
  }
  return conditions;
}
