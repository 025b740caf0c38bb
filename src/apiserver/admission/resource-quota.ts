import type { k8s } from "../../api/index.ts";
import { hasCode, parseQuantityNano } from "../../base/index.ts";
import { resources } from "../../client/index.ts";
import type { Stored } from "../../client/index.ts";
import type { ClusterState } from "../cluster-state.ts";
import type { Admission, AdmissionRequest } from "../machinery/pipeline.ts";
import { refuse } from "./plugin.ts";
import { quotaCovers } from "./quota-scopes.ts";
import { formatUsage, usageOf } from "./quota-usage.ts";
import type { Usage } from "./quota-usage.ts";

const maxAttempts = 10;

/**
 * Refuses what would exceed a namespace's quota and counts what it lets through, by compare and swap on the quota's status, so that two
 * requests cannot both take the last of it. The quota controller corrects the count when things go.
 */
export function resourceQuota(state: ClusterState): Admission {
  return {
    async validate(request) {
      if (request.operation !== "CREATE" || request.namespace === "" || request.subresource !== "") return;
      const quotas = (state.resourceQuotas.now ?? (await state.resourceQuotas.ready())).inNamespace(request.namespace);
      if (quotas.length === 0) return;
      const wanted = usageOf(request.resource, request.object!);
      for (const quota of quotas.filter(({ spec }) => quotaCovers(spec, request.resource.resource, request.object!)))
        await charge(state, request, quota, wanted);
    },
  };
}

async function charge(
  state: ClusterState,
  request: AdmissionRequest,
  known: Stored<k8s.ResourceQuota>,
  wanted: Usage,
): Promise<void> {
  let quota = known;
  const { namespace = "", name } = known.metadata;
  const client = state.client.of(resources.resourceQuotas);
  for (let attempt = 1; ; attempt++) {
    const hard = quota.spec?.hard ?? {};
    const counted = Object.keys(wanted).filter((key) => key in hard);
    assertComputeGiven(request, quota, wanted);
    if (counted.length === 0) return;
    assertRoom(request, quota, wanted, counted);
    if (request.dryRun) return;
    const used = { ...quota.status?.used };
    for (const key of counted) used[key] = formatUsage(key, parseQuantityNano(used[key] ?? "0") + wanted[key]!);
    try {
      await client.updateStatus({ ...quota, status: { hard, used } });
      return;
    } catch (error) {
      if (!hasCode(error, "conflict") || attempt === maxAttempts) throw error;
      quota = await client.get({ namespace, name });
    }
  }
}

const pick = (keys: readonly string[], valueOf: (key: string) => string): string =>
  keys
    .toSorted()
    .map((key) => `${key}=${valueOf(key)}`)
    .join(",");

function assertRoom(
  request: AdmissionRequest,
  quota: Stored<k8s.ResourceQuota>,
  wanted: Usage,
  counted: readonly string[],
): void {
  const hard = quota.spec!.hard!;
  const used = quota.status?.used ?? {};
  const over = counted.filter(
    (key) => parseQuantityNano(used[key] ?? "0") + wanted[key]! > parseQuantityNano(hard[key]!),
  );
  if (over.length === 0) return;
  const requested = pick(over, (key) => formatUsage(key, wanted[key]!));
  throw refuse(
    request,
    `exceeded quota: ${quota.metadata.name}, requested: ${requested}, used: ${pick(over, (key) => used[key] ?? "0")}, limited: ${pick(over, (key) => hard[key]!)}`,
  );
}

/** Under a quota of CPU or memory every Pod must say what it needs. */
function assertComputeGiven(request: AdmissionRequest, quota: Stored<k8s.ResourceQuota>, wanted: Usage): void {
  if (request.resource.resource !== "pods") return;
  const compute = Object.keys(quota.spec?.hard ?? {}).filter((key) => /^(requests\.|limits\.)?(cpu|memory)$/.test(key));
  const missing = compute.filter((key) => wanted[key] === undefined);
  if (missing.length === 0) return;
  const spec = (request.object as k8s.Pod).spec!;
  const names = [...spec.containers, ...(spec.initContainers ?? [])]
    .map(({ name }) => name)
    .sort()
    .join(",");
  throw refuse(
    request,
    `failed quota: ${quota.metadata.name}: must specify ${missing
      .sort()
      .map((key) => `${key} for: ${names}`)
      .join("; ")}`,
  );
}
