import type { k8s, KubeObject } from "../../api/index.ts";
import { hasCode } from "../../base/index.ts";
import type { ClusterState } from "../cluster-state.ts";
import { localApiServices } from "./api-services.ts";
import { flowSchemas, priorityLevels } from "./flow-control.ts";
import { reconcileRoles } from "./reconcile-roles.ts";
import { bootstrapClusterRoleBindings, bootstrapClusterRoles, bootstrapRoleBindings, bootstrapRoles } from "./roles.ts";

interface BootstrapOptions {
  /** Of the `kubernetes` Service: the first address of the service range. */
  readonly serviceIp: string;
  /** One, or one of each family with a comma between. */
  readonly serviceCidr: string;
  /** Where the API server answers, for the `kubernetes` Service's endpoints. */
  readonly address: string;
  readonly port: number;
}

const namespaces = ["default", "kube-node-lease", "kube-public", "kube-system"];

/** Everything that a cluster has from its first moment. Idempotent: what is there stays as it is, but for where the server is and rules that default roles lack. */
export async function bootstrapCluster(state: ClusterState, options: BootstrapOptions): Promise<void> {
  const first = namespaces.map((name) => ({ path: "/api/v1/namespaces", object: namespace(name) }));
  await ensureAll(state, first);
  await ensureAll(state, everythingElse(options));
  await reconcileRoles(state);
}

interface Wanted {
  readonly path: string;
  readonly object: { readonly metadata?: { readonly name?: string } };
  /** Given: what is there is replaced, since the server may have moved since its last start. */
  readonly name?: string;
}

/** Side by side: the store writes them in few groups. What is there already is learnt by one list of each kind, which costs a tenth of asking for each. */
async function ensureAll(state: ClusterState, wanted: readonly Wanted[]): Promise<void> {
  const byPath = Map.groupBy(wanted, ({ path }) => path);
  await Promise.all(
    [...byPath].map(async ([path, items]) => {
      const present = items.some(({ name }) => name === undefined) ? await namesAt(state, path) : new Set();
      await Promise.all(
        items.filter(({ object }) => !present.has(object.metadata?.name)).map((item) => ensure(state, item)),
      );
    }),
  );
}

async function namesAt(state: ClusterState, path: string): Promise<Set<string | undefined>> {
  const { object, body } = await state.client.send({ method: "GET", path });
  const { items = [] } = (object ?? JSON.parse(Buffer.from(body!).toString())) as { items?: readonly KubeObject[] };
  return new Set(items.map(({ metadata }) => metadata.name));
}

async function ensure(state: ClusterState, { path, object, name }: Wanted): Promise<void> {
  try {
    await state.client.send({ method: "POST", path, object });
  } catch (error) {
    if (!hasCode(error, "alreadyExists")) throw error;
    if (name !== undefined) await state.client.send({ method: "PUT", path: `${path}/${name}`, object });
  }
}

const namespace = (name: string): KubeObject => ({ apiVersion: "v1", kind: "Namespace", metadata: { name } });

function everythingElse(options: BootstrapOptions): Wanted[] {
  const rbac = "/apis/rbac.authorization.k8s.io/v1";
  const flow = "/apis/flowcontrol.apiserver.k8s.io/v1";
  const at = (path: string) => (object: Wanted["object"]) => ({ path, object });
  return [
    ...bootstrapClusterRoles().map(at(`${rbac}/clusterroles`)),
    ...bootstrapClusterRoleBindings().map(at(`${rbac}/clusterrolebindings`)),
    ...bootstrapRoles().map((object) => ({ path: `${rbac}/namespaces/${object.metadata!.namespace}/roles`, object })),
    ...bootstrapRoleBindings().map((object) => ({
      path: `${rbac}/namespaces/${object.metadata!.namespace}/rolebindings`,
      object,
    })),
    ...localApiServices().map(at("/apis/apiregistration.k8s.io/v1/apiservices")),
    ...priorityClasses().map(at("/apis/scheduling.k8s.io/v1/priorityclasses")),
    ...priorityLevels().map(at(`${flow}/prioritylevelconfigurations`)),
    ...flowSchemas().map(at(`${flow}/flowschemas`)),
    at("/apis/networking.k8s.io/v1/servicecidrs")(serviceCidr(options)),
    ...[
      at("/api/v1/namespaces/default/services")(kubernetesService(options)),
      at("/api/v1/namespaces/default/endpoints")(kubernetesEndpoints(options)),
      at("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices")(kubernetesSlice(options)),
    ].map((item) => ({ ...item, name: "kubernetes" })),
  ];
}

function priorityClasses(): k8s.PriorityClass[] {
  const make = (name: string, value: number, description: string): k8s.PriorityClass => ({
    apiVersion: "scheduling.k8s.io/v1",
    kind: "PriorityClass",
    metadata: { name },
    value,
    description,
  });
  return [
    make("system-cluster-critical", 2_000_000_000, "For Pods that the cluster needs, wherever they run."),
    make("system-node-critical", 2_000_001_000, "For Pods that a node needs and that cannot move off it."),
  ];
}

const componentLabels = { component: "apiserver", provider: "kubernetes" };

const serviceCidr = ({ serviceCidr: cidr }: BootstrapOptions): KubeObject => ({
  apiVersion: "networking.k8s.io/v1",
  kind: "ServiceCIDR",
  metadata: { name: "kubernetes" },
  spec: { cidrs: cidr.split(",") },
});

const kubernetesService = ({ serviceIp, port }: BootstrapOptions): KubeObject => ({
  apiVersion: "v1",
  kind: "Service",
  metadata: { name: "kubernetes", namespace: "default", labels: componentLabels },
  spec: {
    type: "ClusterIP",
    clusterIP: serviceIp,
    ports: [{ name: "https", protocol: "TCP", port: 443, targetPort: port }],
  },
});

const kubernetesEndpoints = ({ address, port }: BootstrapOptions): KubeObject => ({
  apiVersion: "v1",
  kind: "Endpoints",
  metadata: { name: "kubernetes", namespace: "default", labels: { "endpointslice.kubernetes.io/skip-mirror": "true" } },
  subsets: [{ addresses: [{ ip: address }], ports: [{ name: "https", port, protocol: "TCP" }] }],
});

const kubernetesSlice = ({ address, port }: BootstrapOptions): KubeObject => ({
  apiVersion: "discovery.k8s.io/v1",
  kind: "EndpointSlice",
  metadata: { name: "kubernetes", namespace: "default", labels: { "kubernetes.io/service-name": "kubernetes" } },
  addressType: "IPv4",
  endpoints: [{ addresses: [address], conditions: { ready: true } }],
  ports: [{ name: "https", port, protocol: "TCP" }],
});
