import type { k8s } from "../../api/index.ts";
import type { Informer, Stored } from "../../client/index.ts";
import { controlledBy, type Pod } from "../common/index.ts";

/** Says which entry of spec.resourceClaims a claim was made for: names are made up. */
const ANNOTATION = "resource.kubernetes.io/pod-claim-name";
/** So that a name with its random ending fits a label. */
const MAX_BASE = 57;

/** The claim that was made for an entry of a Pod, also where the Pod's status does not say so yet. */
export const ofPodClaim = (
  claims: Informer<k8s.ResourceClaim>,
  pod: Pod,
  name: string,
): Stored<k8s.ResourceClaim> | undefined =>
  controlledBy(claims, pod).find(({ metadata }) => metadata.annotations?.[ANNOTATION] === name);

export function claimFromTemplate(
  { metadata: { name: podName, namespace, uid } }: Pod,
  name: string,
  template: k8s.ResourceClaimTemplate,
): k8s.ResourceClaim {
  const { metadata = {}, spec } = template.spec;
  const owner = { apiVersion: "v1", kind: "Pod", name: podName, uid, controller: true, blockOwnerDeletion: true };
  return {
    metadata: {
      generateName: generatedName(podName, name),
      namespace,
      ...(metadata.labels ? { labels: metadata.labels } : {}),
      annotations: { ...metadata.annotations, [ANNOTATION]: name },
      ownerReferences: [owner],
    },
    spec,
  };
}

/** Both names are shortened in proportion, so that something of each is left. */
function generatedName(pod: string, claim: string): string {
  const whole = `${pod}-${claim}-`;
  if (whole.length <= MAX_BASE) return whole;
  const short = (text: string) => text.slice(0, Math.floor((text.length * MAX_BASE) / whole.length));
  return `${short(pod)}-${short(claim)}`;
}
