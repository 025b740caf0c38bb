/** Bodies of the build group, as the published description has them (docs: Image build, BuildPrune, BuildCache). */

/** The answer of POST /build/prune. */
export interface BuildPruneResponse {
  readonly CachesDeleted: readonly string[] | null;
  /** Bytes. */
  readonly SpaceReclaimed: number;
}

/** One record in `GET /system/df`. Times are RFC 3339 with nanoseconds. */
export interface BuildCacheRecord {
  readonly ID: string;
  readonly Parent?: string;
  readonly Parents: readonly string[] | null;
  readonly Type: string;
  readonly Description: string;
  readonly InUse: boolean;
  readonly Shared: boolean;
  /** Bytes. */
  readonly Size: number;
  readonly CreatedAt: string;
  readonly LastUsedAt: string | null;
  readonly UsageCount: number;
}

/** An entry of the `ulimits` parameter. */
export interface BuildUlimit {
  readonly Name: string;
  readonly Soft: number;
  readonly Hard: number;
}
