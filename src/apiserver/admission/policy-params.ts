import type { k8s, KubeObject } from "../../api/index.ts";
import { defineResource } from "../../client/index.ts";
import type { ClusterState } from "../cluster-state.ts";
import type { Kind } from "../machinery/kind.ts";
import type { AdmissionRequest } from "../machinery/pipeline.ts";
import { selects } from "../resources/shared/object-meta.ts";

/**
 * The parameters that a binding names, by name or by labels; one `undefined` where the policy or the binding has none. Throws what is wrong
 * with them, in upstream's words (https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/#parameter-resources).
 */
export async function findParams(
  state: ClusterState,
  kinds: readonly Kind[],
  request: AdmissionRequest,
  paramKind: k8s.ParamKind | undefined,
  ref: k8s.ParamRef | undefined,
): Promise<(KubeObject | undefined)[]> {
  if (paramKind === undefined || ref === undefined) return [undefined];
  const { apiVersion = "", kind = "" } = paramKind;
  const [version = "", group = ""] = apiVersion.split("/").toReversed();
  const found = kinds.find((one) => one.group === group && one.version === version && one.kind === kind);
  if (found === undefined)
    throw new Error(`paramKind kind \`&ParamKind{APIVersion:${apiVersion},Kind:${kind},}\` not known`);
  if (ref.namespace && !found.namespaced)
    throw new Error("paramRef.namespace must not be provided for a cluster-scoped `paramKind`");
  const namespace = found.namespaced ? ref.namespace || request.namespace : undefined;
  if (namespace === "")
    throw new Error("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources");
  const client = state.client.of(defineResource(apiVersion, found.plural, kind, found.namespaced));
  const { items } = await client.list({ namespace });
  const params = (items as KubeObject[])
    .filter(({ metadata }) => (ref.name ? metadata.name === ref.name : selects(ref.selector, metadata.labels)))
    .map((object) => ({ ...object, apiVersion, kind }));
  if (params.length === 0 && ref.parameterNotFoundAction === "Deny")
    throw new Error("no params found for policy binding with `Deny` parameterNotFoundAction");
  return params;
}
