import type { k8s } from "../../api/index.ts";
import { hasCode } from "../../base/index.ts";
import { resources, type AnyObject, type Resource, type Stored } from "../../client/index.ts";
import type { ControllerContext } from "../controller.ts";
import { safeHash, sameJson } from "./json.ts";
import { controlledBy, indexByController, isControlledBy, ownerReference } from "./owners.ts";

export type Revision = Stored<k8s.ControllerRevision>;
type Owner = Stored<
  AnyObject & { spec?: { template?: k8s.PodTemplateSpec; selector?: k8s.LabelSelector; revisionHistoryLimit?: number } }
>;

export const REVISION_LABEL = "controller-revision-hash";

/** What a rollback would put back: the template, as a patch. */
function dataOf(owner: Owner): unknown {
  return { spec: { template: { ...owner.spec!.template, $patch: "replace" } } };
}

/** A set's template history. The last one is the template of now; it is created, or brought back to the end, when needed. */
export async function ensureRevision(
  context: ControllerContext,
  owner: Owner,
  resource: Resource,
  signal: AbortSignal,
): Promise<{ all: Revision[]; update: Revision }> {
  const informer = context.informer(resources.controllerRevisions);
  indexByController(informer);
  const client = context.client.of(resources.controllerRevisions);
  const all = [...controlledBy(informer, owner)].sort((left, right) => left.revision - right.revision);
  const data = dataOf(owner);
  const next = (all.at(-1)?.revision ?? 0) + 1;
  const equal = all.findLast((revision) => sameJson(revision.data, data));
  if (equal && equal === all.at(-1)) return { all, update: equal };
  if (equal) {
    const update = await client.update({ ...equal, revision: next }, { signal });
    return { all: [...all.filter((each) => each !== equal), update], update };
  }
  const update = await create(context, owner, resource, data, next, signal);
  return { all: [...all.filter(({ metadata }) => metadata.uid !== update.metadata.uid), update], update };
}

async function create(
  context: ControllerContext,
  owner: Owner,
  resource: Resource,
  data: unknown,
  revision: number,
  signal: AbortSignal,
): Promise<Revision> {
  const client = context.client.of(resources.controllerRevisions);
  for (let collision = 0; ; collision++) {
    const hash = safeHash(data, collision);
    const metadata = {
      name: `${owner.metadata.name}-${hash}`,
      namespace: owner.metadata.namespace,
      labels: { ...owner.spec?.template?.metadata?.labels, [REVISION_LABEL]: hash },
      // `rollout history` reads the change's cause from here.
      annotations: owner.metadata.annotations,
      ownerReferences: [ownerReference(owner, resource)],
    };
    try {
      return await client.create({ metadata, data: data as k8s.ControllerRevision["data"], revision }, { signal });
    } catch (error) {
      if (!hasCode(error, "alreadyExists")) throw error;
      const found = await client.get(metadata, { signal });
      if (isControlledBy(found, owner) && sameJson(found.data, data)) return found;
    }
  }
}

/** Deletes the oldest revisions that nobody uses, beyond the history limit. */
export async function trimRevisions(
  context: ControllerContext,
  all: readonly Revision[],
  used: ReadonlySet<string>,
  limit: number,
  signal: AbortSignal,
): Promise<void> {
  const unused = all.filter(
    ({ metadata }) => !used.has(metadata.name) && !used.has(metadata.labels?.[REVISION_LABEL] ?? ""),
  );
  for (const { metadata } of unused.slice(0, Math.max(0, unused.length - limit))) {
    try {
      await context.client.of(resources.controllerRevisions).delete(metadata, { signal });
    } catch (error) {
      if (!hasCode(error, "notFound")) throw error;
    }
  }
}

/** The template that a revision recorded. */
export function templateOf(revision: Revision): k8s.PodTemplateSpec {
  const data = revision.data as { spec?: { template?: k8s.PodTemplateSpec & { $patch?: string } } };
  const { $patch: _, ...template } = data.spec?.template ?? {};
  return template as k8s.PodTemplateSpec;
}
