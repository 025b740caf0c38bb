/**
 * One structure for the shape of every kind, built-in (from the generated facts table) or custom (compiled from a CRD). Validation,
 * pruning, strategic-merge and apply patches, managed fields, OpenAPI and explain all read it. Shared sub-schemas are the same object,
 * and may refer to themselves through `resolve`.
 */
export interface Schema {
  readonly type: "object" | "array" | "string" | "integer" | "number" | "boolean" | "any";
  /** Upstream's name of a shared type, for example `io.k8s.api.core.v1.PodSpec`. */
  readonly name?: string;
  /** `int32`, `int64`, `date-time`, `int-or-string`, `quantity`, `byte`, `double` … */
  readonly format?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  /** Values of a map. */
  readonly additionalProperties?: Schema;
  readonly items?: Schema;
  /** https://kubernetes.io/docs/reference/using-api/server-side-apply/#merge-strategy */
  readonly listType?: "atomic" | "set" | "map";
  readonly listMapKeys?: readonly string[];
  readonly mapType?: "atomic" | "granular";
  /** Strategic merge patch: `merge`, `replace`, `retainKeys`, or a list of them. */
  readonly patchStrategy?: readonly string[];
  readonly patchMergeKey?: string;
  readonly preserveUnknownFields?: boolean;
  readonly nullable?: boolean;
  readonly embeddedResource?: boolean;
  readonly default?: unknown;
  readonly enum?: readonly unknown[];
  /** Everything else a CRD may say (minimum, pattern, x-kubernetes-validations …), in the CRD's own form. */
  readonly constraints?: Readonly<Record<string, unknown>>;
  readonly description?: string;
}
