import type { k8s } from "../pod/imports.ts";
import { defineResource } from "../../../client/index.ts";

/** As much of a resource.k8s.io/v1 claim as a node reads. https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/ */
export interface ResourceClaim {
  readonly metadata: k8s.ObjectMeta;
  readonly status?: {
    readonly allocation?: {
      readonly devices?: {
        readonly results?: ReadonlyArray<{ request: string; driver: string; pool: string; device: string }>;
      };
    };
    readonly reservedFor?: ReadonlyArray<{ apiGroup?: string; resource: string; name: string; uid: string }>;
  };
}
export const resourceClaims = defineResource<ResourceClaim>("resource.k8s.io/v1", "resourceclaims", "ResourceClaim");
export const resourceSlices = defineResource("resource.k8s.io/v1", "resourceslices", "ResourceSlice", false);

/** How a driver is told of a claim. */
export interface ClaimRef {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

/** A device that a driver has made ready. */
export interface PreparedDevice {
  readonly driver: string;
  readonly pool: string;
  readonly device: string;
  /** Empty: for all requests of the claim. */
  readonly requests: readonly string[];
  readonly cdiDevices: readonly string[];
}
