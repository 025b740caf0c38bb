import type { k8s } from "../../api/index.ts";
import { hasCode, messageOf, notFound } from "../../base/index.ts";
import { keyOf, resources, splitKey, type Informer, type Stored } from "../../client/index.ts";
import { indexByController, isControlledBy, isPodTerminal, type Pod } from "../common/index.ts";
import type { Controller, ControllerContext } from "../controller.ts";
import { claimFromTemplate, ofPodClaim } from "./template.ts";

type Claim = Stored<k8s.ResourceClaim>;

const FINALIZER = "resource.kubernetes.io/delete-protection";
const POD = "pod:";
const CLAIM = "claim:";

/**
 * Makes the claims that Pods want from templates, and takes claims from Pods that are done with them: what nobody has reserved any more is
 * no longer allocated. https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/
 */
export const resourceClaimController: Controller = {
  name: "resource-claim-controller",
  setup(context) {
    const pods = context.informer(resources.pods);
    const claims = context.informer(resources.resourceClaims);
    const templates = context.informer(resources.resourceClaimTemplates);
    indexByController(claims);
    const considerPod = (pod: Pod) => {
      if (!pod.spec?.resourceClaims?.length) return;
      context.enqueue(POD + keyOf(pod));
      for (const name of claimNames(pod)) context.enqueue(`${CLAIM}${pod.metadata.namespace}/${name}`);
    };
    const considerClaim = (claim: Claim) => context.enqueue(CLAIM + keyOf(claim));
    pods.onChange({ added: considerPod, updated: considerPod, deleted: considerPod });
    claims.onChange({
      added: considerClaim,
      updated: considerClaim,
      // A Pod's own claim that is gone is made again.
      deleted: (claim) =>
        pods
          .inNamespace(claim.metadata.namespace!)
          .filter((pod) => isControlledBy(claim, pod))
          .forEach(considerPod),
    });
    templates.onChange({
      added: (template) => pods.inNamespace(template.metadata.namespace!).forEach(considerPod),
    });
    return {
      async reconcile(key, signal) {
        const isPod = key.startsWith(POD);
        const name = key.slice((isPod ? POD : CLAIM).length);
        if (!isPod) return syncClaim(context, claims.get(name), pods, signal);
        const pod = pods.get(name);
        if (pod !== undefined && !pod.metadata.deletionTimestamp) await syncPod(context, pod, claims, signal);
      },
    };
  },
};

/** The claims of a Pod that are there already, or were. */
function claimNames({ spec, status }: Pod): string[] {
  const made = (status?.resourceClaimStatuses ?? []).flatMap(({ resourceClaimName }) => resourceClaimName ?? []);
  return [...(spec?.resourceClaims ?? []).flatMap(({ resourceClaimName }) => resourceClaimName ?? []), ...made];
}

async function syncPod(
  context: ControllerContext,
  pod: Pod,
  claims: Informer<k8s.ResourceClaim>,
  signal: AbortSignal,
): Promise<void> {
  if (isPodTerminal(pod)) return;
  const statuses = new Map(pod.status?.resourceClaimStatuses?.map((status) => [status.name, status.resourceClaimName]));
  let isChanged = false;
  for (const podClaim of pod.spec?.resourceClaims ?? []) {
    if (!podClaim.resourceClaimTemplateName) continue;
    const known = statuses.get(podClaim.name);
    const there = known === undefined ? undefined : claims.get(`${pod.metadata.namespace}/${known}`);
    if (there !== undefined && isControlledBy(there, pod)) continue;
    try {
      const claim = ofPodClaim(claims, pod, podClaim.name) ?? (await make(context, pod, podClaim, signal));
      statuses.set(podClaim.name, claim.metadata.name);
      isChanged = true;
    } catch (error) {
      const why = `PodResourceClaim ${podClaim.name}: ${messageOf(error)}`;
      context.events.event(pod, "Warning", "FailedResourceClaimCreation", why);
      throw error;
    }
  }
  if (!isChanged) return reserveForBound(context, pod, claims, signal);
  const resourceClaimStatuses = [...statuses].map(([name, resourceClaimName]) => ({ name, resourceClaimName }));
  await context.client
    .of(resources.pods)
    .patch(pod.metadata, { status: { resourceClaimStatuses } }, { kind: "strategic", subresource: "status", signal });
}

async function make(
  context: ControllerContext,
  pod: Pod,
  { name, resourceClaimTemplateName }: k8s.PodResourceClaim,
  signal: AbortSignal,
): Promise<Claim> {
  const at = resourceClaimTemplateName!;
  // The controller's own account may not read templates.
  const template = context.informer(resources.resourceClaimTemplates).get(`${pod.metadata.namespace}/${at}`);
  if (!template)
    throw notFound(`resource claim template "${at}": resourceclaimtemplates.resource.k8s.io "${at}" not found`);
  return context.client.of(resources.resourceClaims).create(claimFromTemplate(pod, name, template), { signal });
}

/** The scheduler reserves claims for the Pods that it places; a Pod that came with its node has nobody else to do it. */
async function reserveForBound(
  context: ControllerContext,
  pod: Pod,
  claims: Informer<k8s.ResourceClaim>,
  signal: AbortSignal,
): Promise<void> {
  if (!pod.spec?.nodeName) return;
  for (const name of claimNames(pod)) {
    const claim = claims.get(`${pod.metadata.namespace}/${name}`);
    const { reservedFor = [], allocation } = claim?.status ?? {};
    if (claim === undefined || allocation === undefined) continue;
    if (reservedFor.some(({ uid }) => uid === pod.metadata.uid)) continue;
    const consumer = { resource: "pods", name: pod.metadata.name, uid: pod.metadata.uid };
    const status = { ...claim.status, reservedFor: [...reservedFor, consumer] };
    await context.client.of(resources.resourceClaims).updateStatus({ ...claim, status }, { signal });
  }
}

async function syncClaim(
  context: ControllerContext,
  claim: Claim | undefined,
  pods: Informer<k8s.Pod>,
  signal: AbortSignal,
): Promise<void> {
  if (claim === undefined) return;
  const client = context.client.of(resources.resourceClaims);
  const { namespace } = claim.metadata;
  const { reservedFor = [] } = claim.status ?? {};
  const valid: k8s.ResourceClaimConsumerReference[] = [];
  for (const consumer of reservedFor)
    if (await isInUse(context, pods, namespace!, consumer, signal)) valid.push(consumer);
  let current = claim;
  const isOver = valid.length === 0 && (reservedFor.length > 0 || claim.metadata.deletionTimestamp !== undefined);
  if (valid.length < reservedFor.length || (isOver && claim.status?.allocation !== undefined)) {
    const { allocation, reservedFor: _, devices, ...rest } = claim.status!;
    const kept = isOver ? {} : { allocation, devices, reservedFor: valid };
    current = await client.updateStatus({ ...claim, status: { ...rest, ...kept } }, { signal });
  }
  if (isOver) await release(context, current, signal);
  if (valid.length === 0) await removeOfDonePod(context, current, pods, signal);
}

/** A Pod that is neither here nor at the server, has been replaced, or has ended, needs its claim no longer. */
async function isInUse(
  { client }: ControllerContext,
  pods: Informer<k8s.Pod>,
  namespace: string,
  { apiGroup, resource, name, uid }: k8s.ResourceClaimConsumerReference,
  signal: AbortSignal,
): Promise<boolean> {
  if (apiGroup || resource !== "pods") throw new Error(`unsupported ReservedFor entry: ${resource}/${name}`);
  let pod = pods.get(`${namespace}/${name}`);
  try {
    pod ??= await client.of(resources.pods).get({ name, namespace }, { signal });
  } catch (error) {
    if (!hasCode(error, "notFound")) throw error;
  }
  return pod !== undefined && pod.metadata.uid === uid && !isDone(pod);
}

/** Has ended, or is on its way out without ever having been on a node. */
const isDone = (pod: Pod): boolean =>
  isPodTerminal(pod) || (pod.metadata.deletionTimestamp !== undefined && !pod.spec?.nodeName);

async function release(context: ControllerContext, claim: Claim, signal: AbortSignal): Promise<void> {
  const { finalizers = [] } = claim.metadata;
  if (!finalizers.includes(FINALIZER) || claim.status?.allocation !== undefined) return;
  const metadata = { ...claim.metadata, finalizers: finalizers.filter((name) => name !== FINALIZER) };
  await context.client.of(resources.resourceClaims).update({ ...claim, metadata }, { signal });
}

/** A claim that was made for a Pod goes with it when the Pod has ended, long before the Pod itself does. */
async function removeOfDonePod(
  context: ControllerContext,
  claim: Claim,
  pods: Informer<k8s.Pod>,
  signal: AbortSignal,
): Promise<void> {
  const owner = claim.metadata.ownerReferences?.find(({ controller, kind }) => controller && kind === "Pod");
  if (owner === undefined || claim.metadata.deletionTimestamp) return;
  const { namespace } = splitKey(keyOf(claim));
  const pod = pods.get(`${namespace}/${owner.name}`);
  if (pod?.metadata.uid !== owner.uid || !isDone(pod)) return;
  try {
    await context.client.of(resources.resourceClaims).delete(claim.metadata, { signal });
  } catch (error) {
    if (!hasCode(error, "notFound")) throw error;
  }
}
