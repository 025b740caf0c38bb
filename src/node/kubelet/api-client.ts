import { hasCode } from "../../base/index.ts";
import type { k8s } from "../../api/index.ts";
import {
  draft,
  resources,
  type EventRecorder,
  type Informer,
  type InformerHandler,
  type KubeClient,
  type ObjectRef,
  type Resource,
  type Stored,
} from "../../client/index.ts";
import { resourceClaims, resourceSlices } from "./dra/types.ts";
import type { KubeletApi } from "./kubelet-api.ts";

/** What Pods refer to, as far as it is known, and where changes of it are told. */
export interface ReferencedCopies {
  readonly configMaps: Copies<k8s.ConfigMap>;
  readonly secrets: Copies<k8s.Secret>;
}
export interface Copies<T extends object> {
  get(key: string): Stored<T> | undefined;
  onChange(handler: InformerHandler<T>): unknown;
}

export interface ApiClientOptions extends ReferencedCopies {
  /** Acts as `system:node:NAME`. */
  readonly client: KubeClient;
  readonly recorder: EventRecorder;
  readonly nodeName: string;
  /** Pods with `spec.nodeName` of this node. */
  readonly pods: Informer<k8s.Pod>;
  readonly nodes: Informer<k8s.Node>;
  readonly services: Informer<k8s.Service>;
}

const LEASE_NAMESPACE = "kube-node-lease";

/** The kubelet's view of the API, made from a client and informers that share its objects. */
export function kubeletApi(options: ApiClientOptions): KubeletApi {
  const { client, nodeName, recorder } = options;
  const pods = client.of(resources.pods);
  const nodes = client.of(resources.nodes);
  const leases = client.of(resources.leases);
  const find = async <T extends object>(resource: Resource<T>, ref: ObjectRef): Promise<T | undefined> => {
    try {
      return await client.of(resource).get(ref);
    } catch (error) {
      if (hasCode(error, "notFound")) return undefined;
      throw error;
    }
  };
  /** The informer's copy, or what the server has when the copy is behind. */
  const cached = async <T extends object>(
    informer: Copies<T>,
    resource: Resource<T>,
    namespace: string,
    name: string,
  ) => informer.get(`${namespace}/${name}`) ?? find(resource, { namespace, name });

  return {
    pods: () => options.pods.list(),
    onPodChange: (listener) => {
      const tell = (pod: k8s.Pod) => listener(pod.metadata.uid!);
      options.pods.onChange({ added: tell, updated: tell, deleted: tell });
    },
    onSourceChange: (listener) => {
      // What is optional comes and goes while Pods run.
      const of = (kind: "ConfigMap" | "Secret") => {
        const tell = ({ metadata: { namespace, name } }: Stored<object>) => listener(kind, namespace!, name);
        return { added: tell, updated: tell, deleted: tell };
      };
      options.configMaps.onChange(of("ConfigMap"));
      options.secrets.onChange(of("Secret"));
    },
    services: (namespace) => {
      const api = options.services.get("default/kubernetes");
      const own = options.services.inNamespace(namespace);
      return api && namespace !== "default" ? [api, ...own] : own;
    },
    configMap: (namespace, name) => cached(options.configMaps, resources.configMaps, namespace, name),
    secret: (namespace, name) => cached(options.secrets, resources.secrets, namespace, name),
    persistentVolumeClaim: (namespace, name) => find(resources.persistentVolumeClaims, { namespace, name }),
    persistentVolume: (name) => find(resources.persistentVolumes, { name }),
    writeClaimStatus: async ({ metadata }, status) =>
      void (await client
        .of(resources.persistentVolumeClaims)
        .patch({ name: metadata.name!, namespace: metadata.namespace }, { status }, { subresource: "status" })),
    csiDriver: (name) => find(resources.csiDrivers, { name }),
    volumeAttachment: (name) => find(resources.volumeAttachments, { name }),
    resourceClaim: (namespace, name) => find(resourceClaims, { namespace, name }),
    removeResourceSlices: (driver) =>
      client.of(resourceSlices).deleteCollection({ fieldSelector: `spec.driver=${driver},spec.nodeName=${nodeName}` }),
    csiNode: () => find(resources.csiNodes, { name: nodeName }),
    writeCsiNode: async (drivers) => {
      const spec = { drivers: [...drivers] };
      const owner = options.nodes.get(nodeName);
      try {
        await client.of(resources.csiNodes).patch({ name: nodeName }, { spec });
      } catch (error) {
        if (!hasCode(error, "notFound")) throw error;
        const ownerReferences = owner && [{ apiVersion: "v1", kind: "Node", name: nodeName, uid: owner.metadata.uid }];
        await client
          .of(resources.csiNodes)
          .create({ metadata: { name: nodeName, ...(ownerReferences && { ownerReferences }) }, spec });
      }
    },
    runtimeClass: (name) => find(resources.runtimeClasses, { name }),
    createToken: async (namespace, serviceAccount, spec) => {
      const response = await client.send({
        method: "POST",
        path: `/api/v1/namespaces/${namespace}/serviceaccounts/${serviceAccount}/token`,
        object: { apiVersion: "authentication.k8s.io/v1", kind: "TokenRequest", spec },
      });
      const answer = (response.object ?? JSON.parse(Buffer.from(response.body!).toString())) as k8s.TokenRequest;
      return { token: answer.status!.token, expirationMs: Date.parse(answer.status!.expirationTimestamp) };
    },

    writePodStatus: (pod, status) =>
      pods.patch(
        { name: pod.metadata.name!, namespace: pod.metadata.namespace },
        { metadata: { uid: pod.metadata.uid }, status: withRemovals(status, pod.status) },
        { subresource: "status" },
      ),
    createPod: async (pod) => void (await pods.create(pod, { namespace: pod.metadata.namespace! })),
    removePod: (pod) =>
      pods.delete(
        { name: pod.metadata.name!, namespace: pod.metadata.namespace },
        { gracePeriodSeconds: 0, preconditions: { uid: pod.metadata.uid } },
      ),
    event: (about, type, reason, message) =>
      recorder.event(
        {
          apiVersion: about.apiVersion,
          kind: about.kind,
          metadata: { name: about.name, namespace: about.namespace, uid: about.uid },
          fieldPath: about.fieldPath,
        },
        type,
        reason,
        message,
      ),

    node: () => options.nodes.get(nodeName),
    createNode: async (node) => void (await nodes.create(node)),
    patchNode: async (patch) => void (await nodes.patch({ name: nodeName }, patch, { kind: "merge" })),
    writeNodeStatus: async (status) =>
      void (await nodes.patch({ name: nodeName }, { status }, { subresource: "status" })),
    renewLease: async (name, durationSeconds, renewTime) => {
      const spec = { holderIdentity: name, leaseDurationSeconds: durationSeconds, renewTime };
      try {
        const lease = draft(await leases.get({ name, namespace: LEASE_NAMESPACE }));
        await leases.update({ ...lease, spec: { ...lease.spec, ...spec } });
      } catch (error) {
        if (!hasCode(error, "notFound")) throw error;
        await leases.create({ metadata: { name, namespace: LEASE_NAMESPACE }, spec });
      }
    },
  };
}

/** A merge patch leaves what it doesn't name: what the old status has and the new one hasn't is named as null. */
function withRemovals(status: k8s.PodStatus, old: k8s.PodStatus | undefined): Record<string, unknown> {
  const removed = Object.keys(old ?? {}).filter((key) => !(key in status) && !KEPT.has(key));
  return { ...status, ...Object.fromEntries(removed.map((key) => [key, null])) };
}

/** Fields of status that others write. */
const KEPT = new Set(["nominatedNodeName", "resourceClaimStatuses", "extendedResourceClaimStatus"]);
