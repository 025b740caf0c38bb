import type { k8s } from "../../api/index.ts";
import { intOrPercent } from "../common/index.ts";

/** What the rollout's arithmetic needs to know of a ReplicaSet. */
export interface SetSize {
  readonly name: string;
  /** spec.replicas */
  readonly replicas: number;
  readonly available: number;
  /** What the annotations recorded when it was last sized. */
  readonly desiredAnnotation?: number;
  readonly maxAnnotation?: number;
}
export interface Resize {
  readonly name: string;
  readonly replicas: number;
}

export function isRolling(deployment: k8s.Deployment): boolean {
  return deployment.spec?.strategy?.type !== "Recreate";
}

/** maxSurge and maxUnavailable as numbers; both zero would never move, so unavailable becomes 1 (upstream's ResolveFenceposts). */
function fenceposts(deployment: k8s.Deployment): { surge: number; unavailable: number } {
  if (!isRolling(deployment)) return { surge: 0, unavailable: 0 };
  const replicas = deployment.spec?.replicas ?? 1;
  const rolling = deployment.spec?.strategy?.rollingUpdate;
  const surge = intOrPercent(rolling?.maxSurge ?? "25%", replicas, true);
  const unavailable = intOrPercent(rolling?.maxUnavailable ?? "25%", replicas, false);
  return { surge, unavailable: surge === 0 && unavailable === 0 ? 1 : unavailable };
}

export function maxSurge(deployment: k8s.Deployment): number {
  return fenceposts(deployment).surge;
}

export function maxUnavailable(deployment: k8s.Deployment): number {
  const replicas = deployment.spec?.replicas ?? 1;
  if (!isRolling(deployment) || replicas === 0) return 0;
  return Math.min(fenceposts(deployment).unavailable, replicas);
}

const total = (sets: readonly SetSize[], field: "replicas" | "available") =>
  sets.reduce((sum, set) => sum + set[field], 0);

/** How large the new set may be now. `oldSets` without it. */
export function newSetReplicas(deployment: k8s.Deployment, newSize: number, oldSets: readonly SetSize[]): number {
  const desired = deployment.spec?.replicas ?? 1;
  if (!isRolling(deployment) || newSize >= desired) return desired;
  const current = total(oldSets, "replicas") + newSize;
  const allowed = desired + maxSurge(deployment);
  if (current >= allowed) return newSize;
  return newSize + Math.min(allowed - current, desired - newSize);
}

/** Which old sets shrink now, unhealthy pods first, so that enough pods stay available. `oldSets` oldest first. */
export function planOldSets(deployment: k8s.Deployment, newSet: SetSize, oldSets: readonly SetSize[]): Resize[] {
  if (total(oldSets, "replicas") === 0) return [];
  const minAvailable = (deployment.spec?.replicas ?? 1) - maxUnavailable(deployment);
  const newUnavailable = newSet.replicas - newSet.available;
  const budget = total(oldSets, "replicas") + newSet.replicas - minAvailable - newUnavailable;
  if (budget <= 0) return [];
  const sizes = new Map(oldSets.map((set) => [set.name, set.replicas]));
  dropUnhealthy(oldSets, sizes, budget);
  const surplus = total(oldSets, "available") + newSet.available - minAvailable;
  dropSurplus(oldSets, sizes, surplus);
  return oldSets.flatMap(({ name, replicas }) =>
    sizes.get(name) === replicas ? [] : [{ name, replicas: sizes.get(name)! }],
  );
}

function dropUnhealthy(sets: readonly SetSize[], sizes: Map<string, number>, budget: number): void {
  let left = budget;
  for (const { name, replicas, available } of sets) {
    if (left <= 0) return;
    const drop = Math.min(left, replicas - available);
    if (replicas === 0 || drop <= 0) continue;
    sizes.set(name, replicas - drop);
    left -= drop;
  }
}

function dropSurplus(sets: readonly SetSize[], sizes: Map<string, number>, surplus: number): void {
  let left = surplus;
  for (const { name } of sets) {
    if (left <= 0) return;
    const size = sizes.get(name)!;
    const drop = Math.min(left, size);
    sizes.set(name, size - drop);
    left -= drop;
  }
}

/**
 * A deployment was resized in the middle of a rollout: spreads the difference over its sets in proportion to their sizes, the largest taking
 * what rounding leaves. Upstream: sync.go `scale`.
 */
export function planProportional(
  deployment: k8s.Deployment,
  newSet: SetSize | undefined,
  oldSets: readonly SetSize[],
): Resize[] {
  const desired = deployment.spec?.replicas ?? 1;
  const active = oldSets.filter((set) => set.replicas > 0);
  const all = newSet && newSet.replicas > 0 ? [...active, newSet] : active;
  const only = all.length === 1 ? all[0] : all.length === 0 ? (newSet ?? oldSets.at(-1)) : undefined;
  if (only || all.length === 0)
    return only && only.replicas !== desired ? [{ name: only.name, replicas: desired }] : [];
  if (newSet && isSaturated(newSet, desired)) return active.map(({ name }) => ({ name, replicas: 0 }));
  if (!isRolling(deployment)) return [];
  const allowed = desired > 0 ? desired + maxSurge(deployment) : 0;
  const toAdd = allowed - total(all, "replicas");
  const sorted = [...all].sort((left, right) => right.replicas - left.replicas);
  let added = 0;
  const sizes = sorted.map((set) => {
    const share = toAdd === 0 ? 0 : shareOf(set, desired, allowed, toAdd, added, deployment.status?.replicas ?? 0);
    added += share;
    return { name: set.name, replicas: set.replicas + share };
  });
  const first = sizes[0]!;
  return [{ ...first, replicas: Math.max(0, first.replicas + toAdd - added) }, ...sizes.slice(1)];
}

function isSaturated(set: SetSize, desired: number): boolean {
  return set.replicas === desired && set.desiredAnnotation === desired && set.available === desired;
}

function shareOf(set: SetSize, desired: number, allowed: number, toAdd: number, added: number, before: number): number {
  if (set.replicas === 0 || toAdd === added) return 0;
  const scaled = desired === 0 ? 0 : Math.round((set.replicas * allowed) / (set.maxAnnotation || before || allowed));
  const share = scaled - set.replicas;
  return toAdd > 0 ? Math.min(share, toAdd - added) : Math.max(share, toAdd - added);
}
