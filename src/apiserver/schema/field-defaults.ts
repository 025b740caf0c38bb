/**
 * Defaults that upstream's OpenAPI publishes on fields (its `+default=` markers), written by hand since swagger.json leaves them out.
 * Apply patches need those of list-map keys: two ports without a protocol are the same port.
 */
export const fieldDefaults: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  "io.k8s.api.core.v1.ContainerPort": { protocol: "TCP" },
  "io.k8s.api.core.v1.ServicePort": { protocol: "TCP" },
  "io.k8s.api.core.v1.ResourceClaim": { name: "" },
  "io.k8s.api.core.v1.LocalObjectReference": { name: "" },
  "io.k8s.api.core.v1.ConfigMapKeySelector": { name: "" },
  "io.k8s.api.core.v1.SecretKeySelector": { name: "" },
  "io.k8s.api.core.v1.ConfigMapEnvSource": { name: "" },
  "io.k8s.api.core.v1.SecretEnvSource": { name: "" },
  "io.k8s.api.core.v1.ConfigMapProjection": { name: "" },
  "io.k8s.api.core.v1.SecretProjection": { name: "" },
};
