import type { k8s } from "../../api/index.ts";
import type { Chosen } from "./allocator.ts";

/** What the claim's status says of the devices that were chosen for it. */
export function allocationOf({ spec }: k8s.ResourceClaim, chosen: readonly Chosen[]): k8s.AllocationResult {
  const results = chosen.map(({ wanted: { request, adminAccess }, candidate: { driver, pool, device } }) => ({
    request,
    driver,
    pool,
    device: device.name,
    ...(adminAccess ? { adminAccess } : {}),
  }));
  const config = configOf(spec, chosen);
  const nodeSelector = nodeSelectorOf(chosen);
  return {
    devices: { results, ...(config.length > 0 ? { config } : {}) },
    ...(nodeSelector === undefined ? {} : { nodeSelector }),
  };
}

/** Of the classes first, request by request, then the claim's own for what was chosen. */
function configOf(spec: k8s.ResourceClaimSpec, chosen: readonly Chosen[]): k8s.DeviceAllocationConfiguration[] {
  const byRequest = new Map(chosen.map(({ wanted }) => [wanted.request, wanted]));
  const ofClasses = [...byRequest].flatMap(([request, wanted]) =>
    (wanted.class.spec?.config ?? []).map((one) => ({ ...one, source: "FromClass", requests: [request] })),
  );
  const meant = new Set([...byRequest.keys()].flatMap((request) => [request, request.split("/")[0]!]));
  const ofClaim = (spec.devices?.config ?? [])
    .filter(({ requests = [] }) => requests.length === 0 || requests.some((request) => meant.has(request)))
    .map((one) => ({ ...one, source: "FromClaim" }));
  return [...ofClasses, ...ofClaim];
}

/** Where the devices can be used: on the node that has one, else where all of their slices say; undefined: anywhere. */
function nodeSelectorOf(chosen: readonly Chosen[]): k8s.NodeSelector | undefined {
  const slices = chosen.map(({ candidate }) => candidate.slice.spec);
  const node = slices.find(({ nodeName }) => nodeName)?.nodeName;
  if (node !== undefined)
    return { nodeSelectorTerms: [{ matchFields: [{ key: "metadata.name", operator: "In", values: [node] }] }] };
  const terms = slices.flatMap(({ nodeSelector }) => nodeSelector?.nodeSelectorTerms[0] ?? []);
  if (terms.length === 0) return undefined;
  const matchExpressions = distinct(terms.flatMap(({ matchExpressions: rules = [] }) => rules));
  const matchFields = distinct(terms.flatMap(({ matchFields: rules = [] }) => rules));
  return {
    nodeSelectorTerms: [
      {
        ...(matchExpressions.length > 0 ? { matchExpressions } : {}),
        ...(matchFields.length > 0 ? { matchFields } : {}),
      },
    ],
  };
}

const distinct = <T>(items: readonly T[]): T[] => [
  ...new Map(items.map((item) => [JSON.stringify(item), item])).values(),
];
