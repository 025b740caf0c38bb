import type { KubeObject, UserInfo } from "../../api/index.ts";
import type { Schema } from "../../api/index.ts";

/** One problem with one field, worded as upstream's field.Error (apimachinery/pkg/util/validation/field). */
export interface FieldError {
  readonly type:
    | "FieldValueRequired"
    | "FieldValueInvalid"
    | "FieldValueDuplicate"
    | "FieldValueForbidden"
    | "FieldValueNotSupported"
    | "FieldValueNotFound"
    | "FieldValueTooLong"
    | "FieldValueTooMany"
    | "FieldValueTypeInvalid"
    | "InternalError";
  /** `spec.containers[0].image` */
  readonly field: string;
  /** The whole of the cause's message without the field: `Invalid value: "x": must be …`. */
  readonly detail: string;
}

export interface StrategyContext {
  readonly user: UserInfo;
  readonly nowMs: number;
  /** "" for the object itself, else the subresource. */
  readonly subresource: string;
  readonly dryRun: boolean;
}

export interface Column {
  readonly name: string;
  readonly type: "string" | "integer" | "number" | "boolean" | "date";
  readonly format?: string;
  /** 0: always shown; 1: with -o wide. */
  readonly priority?: number;
  readonly description?: string;
  cell(object: KubeObject, nowMs: number): unknown;
}

/** Where `scale` finds its fields, as in a CRD's scale subresource. Paths without the leading dot. */
export interface ScalePaths {
  readonly specReplicas: string;
  readonly statusReplicas: string;
  readonly selector?: string;
}

/** All that is peculiar to one kind. Everything left out is what most kinds do. Functions that "fill" change the object in place. */
export interface Strategy {
  fillDefaults?(object: KubeObject): void;
  /** After decoding and defaulting, before admission: reset status, set what the server owns. */
  prepareForCreate?(object: KubeObject, context: StrategyContext): void;
  prepareForUpdate?(object: KubeObject, old: KubeObject, context: StrategyContext): void;
  /** Everything, metadata included. */
  validate?(object: KubeObject, context: StrategyContext): FieldError[];
  validateUpdate?(object: KubeObject, old: KubeObject, context: StrategyContext): FieldError[];
  /** Expressions in CEL, asked about objects that are right otherwise: what they take is loaded with the first one. `old` is undefined on create. */
  validateExpressions?(object: KubeObject, old: KubeObject | undefined): Promise<FieldError[]>;
  /** Field selectors beyond metadata.name and metadata.namespace. */
  readonly selectableFields?: Readonly<Record<string, (object: KubeObject) => string>>;
  readonly columns?: readonly Column[];
  readonly hasStatus?: boolean;
  /** Warned of in every answer: `v1 Endpoints is deprecated in v1.33+; …`. */
  readonly deprecation?: string;
  readonly scale?: ScalePaths;
  /** Whether metadata.generation counts changes of everything but metadata and status. */
  readonly hasGeneration?: boolean;
  /** Seconds of grace for a delete; undefined deletes at once. Pods only, upstream. */
  gracePeriodSeconds?(object: KubeObject, requested: number | undefined): number | undefined;
  /** The first delete of an object that is to wait for finalizers or grace (a namespace becomes Terminating). */
  prepareForDelete?(object: KubeObject, context: StrategyContext): void;
  /** Finalizers outside metadata.finalizers that hold a deletion up (a namespace's spec.finalizers). */
  hasMoreFinalizers?(object: KubeObject): boolean;
  /** Answer a finished delete with the object instead of a Status (pods, services, volumes and a few more, upstream). */
  readonly returnDeletedObject?: boolean;
  /** Subresources besides `status` that are updates of the object itself (`finalize`, `approval`, `ephemeralcontainers`, `resize`). */
  readonly updateSubresources?: readonly string[];
  readonly defaultPropagation?: "Background" | "Foreground" | "Orphan";
  readonly allowCreateOnUpdate?: boolean;
  readonly allowUnconditionalUpdate?: boolean;
}

/**
 * Between this kind's version and the stored form, where they differ (HorizontalPodAutoscaler v1, events.k8s.io, custom resources with
 * several versions). Lists, so that a webhook is asked once. Must not change what it is given.
 */
export interface Conversion {
  toStorage(objects: readonly KubeObject[]): readonly KubeObject[] | Promise<readonly KubeObject[]>;
  fromStorage(objects: readonly KubeObject[]): readonly KubeObject[] | Promise<readonly KubeObject[]>;
}

/** One resource in one group and version. Kinds are data: discovery, storage, handlers and OpenAPI derive from this. */
export interface Kind {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly listKind: string;
  readonly plural: string;
  readonly singular: string;
  readonly shortNames: readonly string[];
  readonly categories: readonly string[];
  readonly namespaced: boolean;
  readonly verbs: readonly string[];
  readonly schema: Schema;
  readonly strategy: Strategy;
  /** The version objects are stored in, where a resource has several. */
  readonly storageVersion: string;
  /** Where another group's resource holds the objects: `{group}/{plural}` ("" for core: `events`). This kind's own by default. */
  readonly storedAs?: string;
  readonly conversion?: Conversion;
  /** From a CustomResourceDefinition: no strategic merge patch; types are checked by validation (422) and not by decoding (400). */
  readonly custom?: boolean;
}
