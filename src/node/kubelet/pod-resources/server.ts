import { PLUGIN_PROTOS } from "../../../api/index.ts";
import { invalidArgument, notFound } from "../../../base/index.ts";
import type { DeviceManager, ReportedDevices } from "../devices/manager.ts";
import type { ResourceClaims } from "../dra/claims.ts";
import type { KubeletHost } from "../kubelet-api.ts";
import type { Pod } from "../pod/imports.ts";
import { allContainers, hasEnded } from "../pod/containers.ts";

export interface PodResourcesOptions {
  readonly host: Pick<KubeletHost, "listen">;
  readonly socket: string;
  readonly pods: () => readonly Pod[];
  readonly devices: DeviceManager;
  readonly claims: ResourceClaims;
}

const SERVICE = { proto: PLUGIN_PROTOS.podresources, name: "v1.PodResourcesLister" };

/**
 * Tells exporters which container has which devices. https://kubernetes.io/docs/concepts/extend-kubernetes/compute-storage-net/device-plugins/
 * Processors and memory are in no answer: no container has its own here.
 */
export async function servePodResources(options: PodResourcesOptions): Promise<{ close(): Promise<void> }> {
  const { host, socket, pods, devices } = options;
  const podResources = (pod: Pod) => resourcesOf(pod, options);
  const active = () => pods().filter((pod) => !hasEnded(pod));
  return host.listen(socket, async () => {
    const { grpcServer } = await import("../../grpc/index.ts");
    return grpcServer(SERVICE, {
      List: async () => ({ podResources: active().map(podResources) }),
      GetAllocatableResources: async () => ({ devices: devices.allocatable().flatMap(containerDevices) }),
      Get: async ({ podName, podNamespace }) => {
        if (!podName || !podNamespace) throw invalidArgument("the Pod's name and namespace are needed");
        const found = pods().find(({ metadata }) => metadata.name === podName && metadata.namespace === podNamespace);
        if (!found) throw notFound(`pod ${podName} in namespace ${podNamespace} not found`);
        return { podResources: podResources(found) };
      },
    });
  });
}

function resourcesOf(pod: Pod, { devices, claims }: PodResourcesOptions): object {
  return {
    name: pod.metadata.name,
    namespace: pod.metadata.namespace,
    containers: allContainers(pod)
      .filter(({ role }) => role === "main" || role === "sidecar")
      .map(({ container }) => ({
        name: container.name,
        devices: devices.allocated(pod.metadata.uid!, container.name).flatMap(containerDevices),
        dynamicResources: claims.devices(pod, container).map(({ claim, devices: prepared }) => ({
          claimName: claim.name,
          claimNamespace: claim.namespace,
          claimResources: prepared.map(({ driver, pool, device, cdiDevices }) => ({
            driverName: driver,
            poolName: pool,
            deviceName: device,
            cdiDevices: cdiDevices.map((name) => ({ name })),
          })),
        })),
      })),
  };
}

/** One entry for each set of devices that are near to the same NUMA nodes. */
function containerDevices({ resource, devices }: ReportedDevices): object[] {
  return [...Map.groupBy(devices, ({ nodes }) => nodes.join())].map(([, group]) => ({
    resourceName: resource,
    deviceIds: group.map(({ id }) => id),
    ...(group[0]!.nodes.length > 0 ? { topology: { nodes: group[0]!.nodes.map((ID) => ({ ID })) } } : {}),
  }));
}
