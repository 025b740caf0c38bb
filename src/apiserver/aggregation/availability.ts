import type { k8s } from "../../api/index.ts";
import { codeOf } from "../../base/index.ts";
import { resources } from "../../client/index.ts";
import type { ClusterState } from "../cluster-state.ts";

/** Why an APIService is not available: upstream's reason and sentence. */
export interface Unavailable {
  readonly reason: string;
  readonly message: string;
}

/** Looks at the Service of an APIService and at what stands behind it. Undefined when it may be asked. */
export async function whyUnreachable(
  { client }: ClusterState,
  { namespace = "", name = "", port = 443 }: k8s.ApiregistrationServiceReference,
): Promise<Unavailable | undefined> {
  const of = `service/${name} in "${namespace}"`;
  const found = await client
    .of(resources.services)
    .get({ namespace, name })
    .catch((error: unknown) => {
      if (codeOf(error) === "notFound") return undefined;
      throw error;
    });
  if (!found) return { reason: "ServiceNotFound", message: `${of} is not present` };
  if ((found.spec?.type ?? "ClusterIP") !== "ClusterIP") return undefined;
  const listening = found.spec?.ports?.find((one) => one.port === port);
  if (!listening) return { reason: "ServicePortError", message: `${of} is not listening on port ${port}` };
  const { items } = await client
    .of(resources.endpointSlices)
    .list({ namespace, labelSelector: `kubernetes.io/service-name=${name}` });
  if (items.length === 0) return { reason: "EndpointsNotFound", message: `cannot find endpointslices for ${of}` };
  const portName = listening.name ?? "";
  const hasAddress = items.some(
    ({ ports, endpoints }) =>
      ports?.some((one) => (one.name ?? "") === portName) &&
      endpoints?.some(({ conditions }) => conditions?.ready !== false),
  );
  if (hasAddress) return undefined;
  return {
    reason: "MissingEndpoints",
    message: `endpointslices for ${of} have no addresses with port name "${portName}"`,
  };
}
