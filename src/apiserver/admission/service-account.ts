import type { k8s } from "../../api/index.ts";
import { randomSuffix } from "../../base/index.ts";
import type { Clock, Random } from "../../base/index.ts";
import type { ClusterState } from "../cluster-state.ts";
import type { Admission } from "../machinery/pipeline.ts";
import { isPodCreate, refuse } from "./plugin.ts";

const mountPath = "/var/run/secrets/kubernetes.io/serviceaccount";
/** An hour and a bit, so that an hour's use is sure. */
const tokenSeconds = 3607;
const attempts = 10;
const retryMs = 50;
const mirrorAnnotation = "kubernetes.io/config.mirror";

/** Every Pod acts as a service account, whose token, root certificate and namespace its containers find mounted. */
export function serviceAccount(state: ClusterState, random: Random, clock: Clock): Admission {
  return {
    async mutate(request) {
      if (!isPodCreate(request)) return;
      const pod = request.object as k8s.Pod;
      const spec = pod.spec!;
      if (pod.metadata.annotations?.[mirrorAnnotation] !== undefined) return;
      spec.serviceAccountName ||= "default";
      spec.serviceAccount = spec.serviceAccountName;
      const account = await findSoon(state, clock, `${request.namespace}/${spec.serviceAccountName}`);
      if (account === undefined)
        throw refuse(
          request,
          `error looking up service account ${request.namespace}/${spec.serviceAccountName}: serviceaccount "${spec.serviceAccountName}" not found`,
        );
      const wanted = spec.automountServiceAccountToken ?? account.automountServiceAccountToken ?? true;
      if (wanted) mountToken(spec, random);
      if ((spec.imagePullSecrets ?? []).length === 0 && (account.imagePullSecrets ?? []).length > 0)
        spec.imagePullSecrets = account.imagePullSecrets!.map(({ name }) => ({ name }));
    },
  };
}

/** A new namespace's default account comes a moment after it: upstream waits for it as well. */
async function findSoon(state: ClusterState, clock: Clock, key: string): Promise<k8s.ServiceAccount | undefined> {
  for (let attempt = 1; ; attempt++) {
    const account = await state.serviceAccounts.find(key);
    if (account !== undefined || attempt === attempts) return account;
    await clock.sleep(retryMs);
  }
}

function mountToken(spec: k8s.PodSpec, random: Random): void {
  const existing = (spec.volumes ?? []).find(({ name }) => name.startsWith("kube-api-access-"));
  const name = existing?.name ?? `kube-api-access-${randomSuffix(random, 5)}`;
  const containers = [...(spec.initContainers ?? []), ...spec.containers];
  let mounted = false;
  for (const container of containers) {
    if (container.volumeMounts?.some((mount) => mount.mountPath === mountPath)) continue;
    container.volumeMounts = [...(container.volumeMounts ?? []), { name, mountPath, readOnly: true }];
    mounted = true;
  }
  if (mounted && existing === undefined) spec.volumes = [...(spec.volumes ?? []), tokenVolume(name)];
}

const tokenVolume = (name: string): k8s.Volume => ({
  name,
  projected: {
    defaultMode: 0o644,
    sources: [
      { serviceAccountToken: { expirationSeconds: tokenSeconds, path: "token" } },
      { configMap: { name: "kube-root-ca.crt", items: [{ key: "ca.crt", path: "ca.crt" }] } },
      {
        downwardAPI: {
          items: [{ path: "namespace", fieldRef: { apiVersion: "v1", fieldPath: "metadata.namespace" } }],
        },
      },
    ],
  },
});
