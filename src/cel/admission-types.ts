import { authorizerType, resourceCheckType } from "./declarations.ts";
import { bool, dyn, int, listOf, mapOf, objectOf, string, timestamp } from "./types.ts";
import type { CelType } from "./types.ts";

const texts = (...names: string[]): Record<string, CelType> => Object.fromEntries(names.map((name) => [name, string]));
const groupVersionKind = objectOf("kubernetes.GroupVersionKind", texts("group", "version", "kind"));
const groupVersionResource = objectOf("kubernetes.GroupVersionResource", texts("group", "version", "resource"));
const userInfo = objectOf("kubernetes.UserInfo", {
  ...texts("username", "uid"),
  groups: listOf(string),
  extra: mapOf(string, listOf(string)),
});
const admissionRequest = objectOf("kubernetes.AdmissionRequest", {
  ...texts("subResource", "requestSubResource", "name", "namespace", "operation"),
  kind: groupVersionKind,
  resource: groupVersionResource,
  requestKind: groupVersionKind,
  requestResource: groupVersionResource,
  userInfo,
  dryRun: bool,
  options: dyn,
});

const condition = objectOf("kubernetes.NamespaceCondition", {
  ...texts("status", "type", "message", "reason"),
  lastTransitionTime: timestamp,
});
const namespace = objectOf("kubernetes.Namespace", {
  metadata: objectOf("kubernetes.NamespaceMetadata", {
    ...texts("name", "generateName", "namespace", "UID", "resourceVersion"),
    labels: mapOf(string, string),
    annotations: mapOf(string, string),
    creationTimestamp: timestamp,
    deletionTimestamp: timestamp,
    deletionGracePeriodSeconds: int,
    generation: int,
    finalizers: listOf(string),
  }),
  spec: objectOf("kubernetes.NamespaceSpec", { finalizers: listOf(string) }),
  status: objectOf("kubernetes.NamespaceStatus", { conditions: listOf(condition), phase: string }),
});

/**
 * What the expressions of admission policies and webhooks may speak of
 * (https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/#validation-expression).
 */
export function admissionVariables(options: {
  /** Of the object, where it is known. */
  readonly object?: CelType;
  /** Of the parameters; undefined for a policy without. */
  readonly params?: CelType;
  readonly hasAuthorizer: boolean;
  /** By the names of a policy's variables. */
  readonly variables?: Readonly<Record<string, CelType>>;
}): Record<string, CelType> {
  const { object = dyn, params, hasAuthorizer, variables } = options;
  return {
    object,
    oldObject: object,
    request: admissionRequest,
    namespaceObject: namespace,
    ...(params === undefined ? {} : { params }),
    ...(hasAuthorizer ? { authorizer: authorizerType, "authorizer.requestResource": resourceCheckType } : {}),
    ...(variables === undefined ? {} : { variables: objectOf("kubernetes.variables", variables) }),
  };
}
