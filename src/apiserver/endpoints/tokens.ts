import type { k8s } from "../../api/index.ts";
import { rfc3339 } from "../../base/index.ts";
import { resources } from "../../client/index.ts";
import type { BoundObject, ServiceAccountTokens } from "../authn/service-account-tokens.ts";
import type { ClusterState } from "../cluster-state.ts";
import type { Endpoint } from "../machinery/pipeline.ts";
import { badRequestError, conflictError, invalidError } from "../machinery/status.ts";
import { answering, withStatus } from "./endpoint.ts";

const shortestSeconds = 600;
const longestSeconds = 2 ** 32;

/** `serviceaccounts/token`: a new token, for an hour unless said otherwise, bound to a Pod, Secret or Node if wished. */
export function tokenEndpoint(state: ClusterState, tokens: ServiceAccountTokens): Endpoint {
  return answering(
    {
      group: "",
      resource: "serviceaccounts",
      subresource: "token",
      namespaced: true,
      kind: "authentication.k8s.io/v1/TokenRequest",
    },
    async (call, tools) => {
      const object = await tools.decode(call);
      const spec = (object["spec"] ?? {}) as k8s.TokenRequestSpec;
      const { namespace, name } = call.info;
      const account = await state.client.of(resources.serviceAccounts).get({ namespace, name });
      const expirationSeconds = spec.expirationSeconds ?? 3600;
      assertExpiration(name, expirationSeconds);
      const audiences = spec.audiences?.length ? spec.audiences : [tokens.audience];
      const { bound, node } = await findBound(state, namespace, name, spec.boundObjectRef);
      const { token, expiresAtMs } = tokens.issue({
        serviceAccount: { namespace, name, uid: account.metadata.uid },
        audiences,
        expirationSeconds,
        bound,
        node,
      });
      const answer = {
        ...object,
        metadata: { ...object.metadata, name, namespace },
        spec: { ...spec, audiences, expirationSeconds },
      };
      return withStatus(answer, { token, expirationTimestamp: rfc3339(expiresAtMs) });
    },
  );
}

function assertExpiration(name: string, seconds: number): void {
  const fail = (detail: string): never => {
    throw invalidError({ group: "authentication.k8s.io", kind: "TokenRequest" }, name, [
      { type: "FieldValueInvalid", field: "spec.expirationSeconds", detail: `Invalid value: ${seconds}: ${detail}` },
    ]);
  };
  if (seconds < shortestSeconds) fail("may not specify a duration less than 10 minutes");
  if (seconds > longestSeconds) fail("may not specify a duration larger than 2^32 seconds");
}

async function findBound(
  state: ClusterState,
  namespace: string,
  account: string,
  ref: k8s.BoundObjectReference | undefined,
): Promise<{ bound?: BoundObject; node?: { name: string; uid: string } }> {
  if (ref === undefined) return {};
  const { client } = state;
  const name = ref.name ?? "";
  const check = (uid: string): BoundObject => {
    if (ref.uid && ref.uid !== uid)
      throw conflictError(
        { group: "", plural: "serviceaccounts/token" },
        account,
        `the UID in the bound object reference (${ref.uid}) does not match the UID in record. The object might have been deleted and then recreated`,
      );
    return { kind: ref.kind as BoundObject["kind"], name, uid };
  };
  switch (ref.kind) {
    case "Pod": {
      const pod = await client.of(resources.pods).get({ namespace, name });
      if ((pod.spec?.serviceAccountName ?? "default") !== account)
        throw badRequestError(
          `cannot bind token for serviceaccount "${account}" to pod running with different serviceaccount name.`,
        );
      const node = pod.spec?.nodeName ? await state.nodes.find(pod.spec.nodeName) : undefined;
      return { bound: check(pod.metadata.uid), node: node && { name: node.metadata.name, uid: node.metadata.uid } };
    }
    case "Secret":
      return { bound: check((await client.of(resources.secrets).get({ namespace, name })).metadata.uid) };
    case "Node":
      return { bound: check((await client.of(resources.nodes).get({ name })).metadata.uid) };
    default:
      throw badRequestError(`cannot bind token to object of type ${ref.apiVersion}, Kind=${ref.kind}`);
  }
}
