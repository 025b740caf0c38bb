import type { k8s } from "../../api/index.ts";
import { hasCode } from "../../base/index.ts";
import { isNamespaceTerminating, resources, type Stored } from "../../client/index.ts";
import { sameJson } from "../common/index.ts";
import type { Controller } from "../controller.ts";

export { serviceAccountTokensController } from "./tokens.ts";

type Namespace = Stored<k8s.Namespace>;

const CA_MAP = "kube-root-ca.crt";
const CA_NOTE = "The CA bundle by which pods verify the API server.";

/** Runs `ensure` for each live namespace, and again when the object it keeps there goes or changes. */
function perNamespace(
  name: string,
  kept: "serviceAccounts" | "configMaps",
  objectName: string,
  ensure: (context: Parameters<Controller["setup"]>[0], namespace: Namespace, signal: AbortSignal) => Promise<void>,
): Controller {
  return {
    name,
    setup(context) {
      const namespaces = context.informer(resources.namespaces);
      const consider = (namespace: Namespace) => context.enqueue(namespace.metadata.name);
      namespaces.onChange({ added: consider, updated: consider });
      const ofObject = (object: { metadata: k8s.ObjectMeta }) => {
        if (object.metadata.name === objectName) context.enqueue(object.metadata.namespace!);
      };
      context
        .informer<{ metadata: k8s.ObjectMeta }>(resources[kept])
        .onChange({ updated: ofObject, deleted: ofObject });
      return {
        async reconcile(key, signal) {
          const namespace = namespaces.get(key);
          if (!namespace || namespace.metadata.deletionTimestamp) return;
          try {
            await ensure(context, namespace, signal);
          } catch (error) {
            if (!hasCode(error, "alreadyExists") && !isNamespaceTerminating(error)) throw error;
          }
        },
      };
    },
  };
}

/** Each namespace has a `default` service account. */
export const serviceAccountController = perNamespace(
  "service-account-controller",
  "serviceAccounts",
  "default",
  async (context, namespace, signal) => {
    const { name } = namespace.metadata;
    if (context.informer(resources.serviceAccounts).get(`${name}/default`)) return;
    await context.client
      .of(resources.serviceAccounts)
      .create({ metadata: { name: "default", namespace: name } }, { signal });
  },
);

/** Each namespace has the cluster's CA in a ConfigMap, for pods to trust the API server by. */
export const rootCaPublisher = perNamespace(
  "root-ca-cert-publisher",
  "configMaps",
  CA_MAP,
  async (context, namespace, signal) => {
    const { rootCaPem } = context.settings;
    if (!rootCaPem) return;
    const { name } = namespace.metadata;
    const maps = context.client.of(resources.configMaps);
    const existing = context.informer(resources.configMaps).get(`${name}/${CA_MAP}`);
    const data = { "ca.crt": rootCaPem };
    const annotations = { "kubernetes.io/description": CA_NOTE };
    if (!existing) await maps.create({ metadata: { name: CA_MAP, namespace: name, annotations }, data }, { signal });
    else if (!sameJson(existing.data, data)) await maps.update({ ...existing, data }, { signal });
  },
);
