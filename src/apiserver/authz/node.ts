import type { k8s } from "../../api/index.ts";
import type { ClusterState } from "../cluster-state.ts";
import type { AuthorizationAttributes, AuthorizationDecision, Authorizer } from "../machinery/pipeline.ts";

const prefix = "system:node:";
const no: AuthorizationDecision = { allowed: false };

const SUBRESOURCES: ReadonlySet<string> = new Set(["", "token", "status"]);

/** The node's name of a kubelet (`system:node:NAME` in `system:nodes`). */
export function nodeNameOf(user: { name: string; groups: readonly string[] }): string | undefined {
  return user.name.startsWith(prefix) && user.groups.includes("system:nodes")
    ? user.name.slice(prefix.length)
    : undefined;
}

/**
 * A kubelet reads only what its own Pods need (https://kubernetes.io/docs/reference/access-authn-authz/node/): their Secrets,
 * ConfigMaps, claims and volumes, its own Node, Lease and CSINode, and tokens of its Pods' accounts. The rest is left to RBAC.
 */
export class NodeAuthorizer implements Authorizer {
  readonly #state: ClusterState;

  constructor(state: ClusterState) {
    this.#state = state;
  }

  async authorize(asked: AuthorizationAttributes): Promise<AuthorizationDecision> {
    const node = nodeNameOf(asked.user);
    if (node === undefined || !asked.isResource) return no;
    switch (`${asked.group}/${asked.resource}`) {
      case "/secrets":
      case "/configmaps":
        return this.#ofItsPods(node, asked, ["get", "list", "watch"]);
      case "/persistentvolumeclaims":
        // A node says how large a volume has become that it grew.
        return this.#ofItsPods(node, asked, asked.subresource === "status" ? ["get", "update", "patch"] : ["get"]);
      case "/persistentvolumes":
        return this.#volume(node, asked);
      case "/serviceaccounts":
        return asked.subresource === "token" ? this.#ofItsPods(node, asked, ["create"]) : no;
      case "coordination.k8s.io/leases":
        return this.#own(asked, node, "kube-node-lease");
      case "storage.k8s.io/csinodes":
        return this.#own(asked, node, "");
      case "storage.k8s.io/volumeattachments":
        return { allowed: asked.verb === "get" };
      default:
        return staticRules(asked);
    }
  }

  async #ofItsPods(
    node: string,
    asked: AuthorizationAttributes,
    verbs: readonly string[],
  ): Promise<AuthorizationDecision> {
    const reason = `no relationship found between node '${node}' and this object`;
    if (!verbs.includes(asked.verb) || asked.name === "" || !SUBRESOURCES.has(asked.subresource))
      return { allowed: false, reason };
    const wanted = `${asked.resource}/${asked.name}`;
    for (const pod of await this.#podsOf(node)) {
      if (pod.metadata.namespace !== asked.namespace) continue;
      for (const ref of references(pod)) if (ref === wanted) return { allowed: true };
    }
    return { allowed: false, reason };
  }

  async #volume(node: string, asked: AuthorizationAttributes): Promise<AuthorizationDecision> {
    const volume = asked.verb === "get" ? await this.#state.persistentVolumes.find(asked.name) : undefined;
    const claim = volume?.spec?.claimRef;
    if (claim === undefined) return no;
    const wanted = `persistentvolumeclaims/${claim.name}`;
    for (const pod of await this.#podsOf(node))
      if (pod.metadata.namespace === claim.namespace && [...references(pod)].includes(wanted)) return { allowed: true };
    return no;
  }

  #own(asked: AuthorizationAttributes, node: string, namespace: string): AuthorizationDecision {
    const verbs = ["get", "create", "update", "patch", "delete"];
    if (!verbs.includes(asked.verb) || asked.namespace !== namespace) return no;
    return { allowed: asked.verb === "create" ? asked.name === "" || asked.name === node : asked.name === node };
  }

  async #podsOf(node: string): Promise<readonly k8s.Pod[]> {
    const pods = await this.#state.pods.ready();
    pods.addIndex("node", ({ spec }) => [spec?.nodeName ?? ""]);
    return pods.byIndex("node", node);
  }
}

/** What every kubelet may do; NodeRestriction (admission) narrows writes to its own objects. */
const rules: readonly { group: string; resources: readonly string[]; verbs: readonly string[] }[] = [
  { group: "authentication.k8s.io", resources: ["tokenreviews"], verbs: ["create"] },
  {
    group: "authorization.k8s.io",
    resources: ["subjectaccessreviews", "localsubjectaccessreviews"],
    verbs: ["create"],
  },
  { group: "", resources: ["services"], verbs: ["get", "list", "watch"] },
  { group: "", resources: ["nodes"], verbs: ["create", "get", "list", "watch", "update", "patch"] },
  { group: "", resources: ["nodes/status"], verbs: ["update", "patch"] },
  { group: "", resources: ["events"], verbs: ["create", "update", "patch"] },
  { group: "", resources: ["pods"], verbs: ["get", "list", "watch", "create", "delete"] },
  { group: "", resources: ["pods/status"], verbs: ["update", "patch"] },
  { group: "", resources: ["pods/eviction"], verbs: ["create"] },
  {
    group: "certificates.k8s.io",
    resources: ["certificatesigningrequests"],
    verbs: ["create", "get", "list", "watch"],
  },
  { group: "storage.k8s.io", resources: ["csidrivers"], verbs: ["get", "list", "watch"] },
  { group: "node.k8s.io", resources: ["runtimeclasses"], verbs: ["get", "list", "watch"] },
  { group: "resource.k8s.io", resources: ["resourceclaims"], verbs: ["get"] },
  {
    group: "resource.k8s.io",
    resources: ["resourceslices"],
    verbs: ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"],
  },
];

function staticRules({ group, resource, subresource, verb }: AuthorizationAttributes): AuthorizationDecision {
  const wanted = subresource === "" ? resource : `${resource}/${subresource}`;
  return {
    allowed: rules.some((rule) => rule.group === group && rule.resources.includes(wanted) && rule.verbs.includes(verb)),
  };
}

/** Everything in its namespace that a Pod names, as `resource/name`. */
function* references({ metadata, spec }: k8s.Pod): Generator<string> {
  if (spec === undefined) return;
  yield `serviceaccounts/${spec.serviceAccountName ?? "default"}`;
  for (const { name } of spec.imagePullSecrets ?? []) yield `secrets/${name}`;
  for (const container of [...spec.containers, ...(spec.initContainers ?? [])]) {
    for (const { configMapRef, secretRef } of container.envFrom ?? []) {
      if (configMapRef !== undefined) yield `configmaps/${configMapRef.name}`;
      if (secretRef !== undefined) yield `secrets/${secretRef.name}`;
    }
    for (const { valueFrom } of container.env ?? []) {
      if (valueFrom?.configMapKeyRef !== undefined) yield `configmaps/${valueFrom.configMapKeyRef.name}`;
      if (valueFrom?.secretKeyRef !== undefined) yield `secrets/${valueFrom.secretKeyRef.name}`;
    }
  }
  for (const volume of spec.volumes ?? []) {
    yield* volumeReferences(volume);
    if (volume.ephemeral !== undefined) yield `persistentvolumeclaims/${metadata.name}-${volume.name}`;
  }
}

function* volumeReferences(volume: k8s.Volume): Generator<string> {
  if (volume.secret !== undefined) yield `secrets/${volume.secret.secretName}`;
  if (volume.configMap !== undefined) yield `configmaps/${volume.configMap.name}`;
  if (volume.persistentVolumeClaim !== undefined)
    yield `persistentvolumeclaims/${volume.persistentVolumeClaim.claimName}`;
  for (const source of volume.projected?.sources ?? []) {
    if (source.secret !== undefined) yield `secrets/${source.secret.name}`;
    if (source.configMap !== undefined) yield `configmaps/${source.configMap.name}`;
  }
}
