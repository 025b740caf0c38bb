import type { k8s } from "../../api/index.ts";
import { keyOf, resources, type AnyObject, type Resource, type Stored } from "../../client/index.ts";
import { discover } from "../common/discovery.ts";
import { isPodTerminal, sameJson } from "../common/index.ts";
import type { Controller, ControllerContext } from "../controller.ts";
import { addUsage, claimUsage, formatAmount, matchesScopes, podUsage, serviceUsage, type Usage } from "./usage.ts";

type Quota = Stored<k8s.ResourceQuota>;

const ONE = 1_000_000_000n;
const RECOUNT_MS = 5 * 60_000;
/** How often kinds are counted that nobody tells of. */
const RECOUNT_OTHERS_MS = 5_000;
const COUNTED = {
  configmaps: resources.configMaps,
  secrets: resources.secrets,
  replicationcontrollers: resources.replicationControllers,
  resourcequotas: resources.resourceQuotas,
} as const;
/** Counted as `count/NAME` alone. */
const COUNTED_BY_GROUP = {
  "deployments.apps": resources.deployments,
  "replicasets.apps": resources.replicaSets,
  "statefulsets.apps": resources.statefulSets,
  "jobs.batch": resources.jobs,
  "cronjobs.batch": resources.cronJobs,
} as const;

/** Counts what is used of each quota; admission does the refusing. */
export const resourceQuotaController: Controller = {
  name: "resourcequota-controller",
  setup(context) {
    const quotas = context.informer(resources.resourceQuotas);
    quotas.onChange({
      added: (quota) => context.enqueue(keyOf(quota)),
      updated: (quota) => context.enqueue(keyOf(quota)),
    });
    const enqueueAll = ({ metadata }: AnyObject) => {
      for (const quota of quotas.inNamespace(metadata!.namespace!)) context.enqueue(keyOf(quota));
    };
    const watch = <T extends AnyObject>(
      resource: Resource<T>,
      matters: (object: Stored<T>, old: Stored<T>) => boolean,
    ) =>
      context.informer(resource).onChange({
        added: enqueueAll,
        updated: (object, old) => matters(object, old) && enqueueAll(object),
        deleted: enqueueAll,
      });
    watch(resources.pods, (pod, old) => isPodTerminal(pod) !== isPodTerminal(old));
    watch(resources.services, (service, old) => !sameJson(service.spec, old.spec));
    watch(resources.persistentVolumeClaims, (claim, old) => !sameJson(claim.spec, old.spec));
    for (const resource of Object.values({ ...COUNTED, ...COUNTED_BY_GROUP }))
      watch<AnyObject>(resource as Resource<AnyObject>, () => false);
    return {
      async reconcile(key, signal) {
        const quota = quotas.get(key);
        if (!quota || quota.metadata.deletionTimestamp) return;
        const hard = quota.spec?.hard ?? {};
        const usage = usageIn(context, quota);
        const hasOthers = await countOthers(context, quota, usage, signal);
        const used = Object.fromEntries(Object.keys(hard).map((name) => [name, formatAmount(name, usage[name] ?? 0n)]));
        const status = { hard, used };
        if (!sameJson(status, quota.status))
          await context.client.of(resources.resourceQuotas).updateStatus({ ...quota, status }, { signal });
        return { requeueAfterMs: hasOthers ? RECOUNT_OTHERS_MS : RECOUNT_MS };
      },
    };
  },
};

function usageIn(context: ControllerContext, quota: Quota): Usage {
  const namespace = quota.metadata.namespace!;
  const usage: Usage = {};
  for (const pod of context.informer(resources.pods).inNamespace(namespace))
    if (matchesScopes(quota.spec, pod)) addUsage(usage, podUsage(pod));
  if (quota.spec?.scopes?.length || quota.spec?.scopeSelector) return usage;
  for (const service of context.informer(resources.services).inNamespace(namespace))
    addUsage(usage, serviceUsage(service));
  for (const claim of context.informer(resources.persistentVolumeClaims).inNamespace(namespace))
    addUsage(usage, claimUsage(claim));
  const count = (resource: unknown) =>
    BigInt(context.informer(resource as Resource<AnyObject>).inNamespace(namespace).length) * ONE;
  for (const [name, resource] of Object.entries(COUNTED))
    addUsage(usage, { [name]: count(resource), [`count/${name}`]: count(resource) });
  for (const [name, resource] of Object.entries(COUNTED_BY_GROUP))
    addUsage(usage, { [`count/${name}`]: count(resource) });
  return usage;
}

/** `count/ingresses.networking.k8s.io` and the like, of any kind the server has. Says whether there are such. */
async function countOthers(
  context: ControllerContext,
  quota: Quota,
  usage: Usage,
  signal: AbortSignal,
): Promise<boolean> {
  const wanted = Object.keys(quota.spec?.hard ?? {}).filter(
    (name) => name.startsWith("count/") && usage[name] === undefined,
  );
  if (wanted.length === 0) return false;
  const all = await discover(context.client, ["list"], context.log, signal);
  for (const name of wanted) {
    const resource = all.find(({ plural, group }) => name === (group ? `count/${plural}.${group}` : `count/${plural}`));
    if (!resource) continue;
    const { items } = await context.client.of(resource).list({ namespace: quota.metadata.namespace, signal });
    usage[name] = BigInt(items.length) * ONE;
  }
  return true;
}
