import type { k8s } from "../../api/index.ts";
import { hasCode, messageOf, type Logger } from "../../base/index.ts";
import { defineResource, type Stored } from "../../client/index.ts";
import type { ClusterState } from "../cluster-state.ts";

type Definition = Stored<k8s.CustomResourceDefinition>;
type Service = k8s.APIService;

const resource = defineResource<Service>("apiregistration.k8s.io/v1", "apiservices", "APIService", false);
/** Marks what is ours to remove. Whoever registers a group without it keeps it. */
const MANAGED = "kube-aggregator.kubernetes.io/automanaged";
/** Upstream's: behind all built-in groups. */
const PRIORITY = { groupPriorityMinimum: 1000, versionPriority: 100 };

/** Keeps an APIService for each group and version that definitions serve, as the built-in ones have theirs. */
export class GroupRegistration {
  readonly #state: ClusterState;
  readonly #log: Logger;
  readonly #definitions: () => readonly Definition[];
  #running = false;
  #again = false;

  constructor(state: ClusterState, log: Logger, definitions: () => readonly Definition[]) {
    this.#state = state;
    this.#log = log;
    this.#definitions = definitions;
  }

  /** Something about a definition has changed. Many at once are looked at together. */
  changed(): void {
    this.#again = true;
    if (!this.#running) void this.#run();
  }

  async #run(): Promise<void> {
    this.#running = true;
    while (this.#again) {
      // Waits for the others of this turn.
      await Promise.resolve();
      this.#again = false;
      await this.#reconcile().catch((error: unknown) => {
        if (!hasCode(error, "canceled", "unavailable"))
          this.#log.warn("the groups of custom resources are not registered", { error: messageOf(error) });
      });
    }
    this.#running = false;
  }

  async #reconcile(): Promise<void> {
    const services = this.#state.client.of(resource);
    const known = new Map((await services.list()).items.map((one) => [one.metadata.name, one]));
    const wanted = wantedServices(this.#definitions());
    for (const [name, spec] of wanted)
      if (!known.has(name))
        await services
          .create({ metadata: { name, labels: { [MANAGED]: "true" } }, spec })
          .catch(unless("alreadyExists"));
    for (const { metadata } of known.values())
      if (metadata.labels?.[MANAGED] === "true" && !wanted.has(metadata.name))
        await services.delete({ name: metadata.name }).catch(unless("notFound"));
  }
}

function wantedServices(definitions: readonly Definition[]): Map<string, k8s.APIServiceSpec> {
  const wanted = new Map<string, k8s.APIServiceSpec>();
  for (const { metadata, spec } of definitions) {
    if (metadata.deletionTimestamp !== undefined) continue;
    for (const { name: version, served } of spec.versions)
      if (served) wanted.set(`${version}.${spec.group}`, { group: spec.group, version, ...PRIORITY });
  }
  return wanted;
}

const unless = (code: "alreadyExists" | "notFound") => (error: unknown) => {
  if (!hasCode(error, code)) throw error;
};
