import { alreadyExists, conflict, notFound, silentLogger, type FakeClock } from "../../../base/index.ts";
import type { k8s } from "../../../api/index.ts";
import type { KubeletApi, KubeletHost } from "../kubelet-api.ts";

/** An API server as small as a kubelet's test needs. */
export class FakeKubeletApi implements KubeletApi {
  readonly podsByUid = new Map<string, k8s.Pod>();
  readonly events: string[] = [];
  readonly configMaps = new Map<string, k8s.ConfigMap>();
  readonly secrets = new Map<string, k8s.Secret>();
  #created = 0;
  #node: k8s.Node | undefined;
  readonly #listeners: Array<(uid: string) => void> = [];

  put(pod: k8s.Pod): void {
    this.podsByUid.set(pod.metadata.uid!, pod);
    for (const listener of this.#listeners) listener(pod.metadata.uid!);
  }
  pods(): readonly k8s.Pod[] {
    return [...this.podsByUid.values()];
  }
  onPodChange(listener: (uid: string) => void): void {
    this.#listeners.push(listener);
  }
  onSourceChange(): void {}
  services(): readonly k8s.Service[] {
    return [];
  }
  async configMap(namespace: string, name: string) {
    return this.configMaps.get(`${namespace}/${name}`);
  }
  async secret(namespace: string, name: string) {
    return this.secrets.get(`${namespace}/${name}`);
  }
  async persistentVolumeClaim() {
    return undefined;
  }
  async persistentVolume() {
    return undefined;
  }
  async writeClaimStatus(): Promise<void> {}
  async csiDriver() {
    return undefined;
  }
  async volumeAttachment() {
    return undefined;
  }
  async resourceClaim() {
    return undefined;
  }
  async removeResourceSlices(): Promise<void> {}
  async csiNode() {
    return undefined;
  }
  async writeCsiNode(): Promise<void> {}
  async runtimeClass() {
    return undefined;
  }
  async createToken() {
    return { token: "token", expirationMs: Date.UTC(2100, 0) };
  }
  async writePodStatus(pod: k8s.Pod, status: k8s.PodStatus): Promise<k8s.Pod> {
    const stored = this.podsByUid.get(pod.metadata.uid!);
    if (!stored) throw notFound(`pods "${pod.metadata.name}" not found`);
    const next = { ...stored, status };
    this.put(next);
    return next;
  }
  async createPod(pod: k8s.Pod): Promise<void> {
    if (this.pods().some(({ metadata }) => metadata.name === pod.metadata.name))
      throw alreadyExists(`pods "${pod.metadata.name}" already exists`);
    const uid = `api-${++this.#created}`;
    this.put({ ...pod, metadata: { ...pod.metadata, uid }, status: { phase: "Pending" } });
  }
  async removePod(pod: k8s.Pod): Promise<void> {
    if (!this.podsByUid.delete(pod.metadata.uid!)) throw conflict("gone already");
    for (const listener of this.#listeners) listener(pod.metadata.uid!);
  }
  event(_about: k8s.ObjectReference, type: string, reason: string, message: string): void {
    this.events.push(`${type} ${reason} ${message}`);
  }
  node(): k8s.Node | undefined {
    return this.#node;
  }
  async createNode(node: k8s.Node): Promise<void> {
    if (this.#node) throw alreadyExists(`nodes "${node.metadata.name}" already exists`);
    this.#node = { ...node, metadata: { ...node.metadata, uid: "node-uid" } };
  }
  async patchNode(): Promise<void> {}
  async writeNodeStatus(status: k8s.NodeStatus): Promise<void> {
    this.#node = { ...this.#node!, status };
  }
  async renewLease(): Promise<void> {}
}

export const fakeHost: KubeletHost = {
  mountTmpfs: async () => {},
  bindBeneath: async () => {},
  unmount: async () => {},
  mountsBelow: async () => [],
  attachLoop: () => "/dev/loop0",
  detachLoop: () => {},
  loopDevices: () => [],
  listen: async () => ({ close: async () => {} }),
  machine: async () => ({
    hostname: "host",
    machineId: "m",
    systemUuid: "u",
    bootId: "b",
    kernelVersion: "6",
    osImage: "os",
    architecture: "amd64",
    cpus: 2,
    memoryBytes: 2 ** 30,
    hostIps: ["192.0.2.1"],
  }),
  diskSpace: async () => ({ totalBytes: 2 ** 30, availableBytes: 2 ** 29, totalInodes: 1000, freeInodes: 900 }),
  memory: async () => ({ totalBytes: 2 ** 30, availableBytes: 2 ** 29 }),
  processes: async () => ({ running: 100, max: 30_000 }),
};

/** Lets timers and promise chains run until the condition holds, moving the fake clock on by `stepMs` a turn. */
export async function until(
  clock: FakeClock,
  condition: () => boolean,
  what: string,
  stepMs = 0,
  turns = 5_000,
): Promise<void> {
  for (let turn = 0; turn < turns; turn++) {
    if (condition()) return;
    // Files are written for real meanwhile: give them real time.
    await new Promise((resolve) => setTimeout(resolve, 1));
    await clock.advance(stepMs);
  }
  throw notFound(`never happened: ${what}`);
}

export { silentLogger };
