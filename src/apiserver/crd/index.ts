import type { k8s } from "../../api/index.ts";
import { hasCode, messageOf, randomUuid } from "../../base/index.ts";
import type { Clock, Logger, Random } from "../../base/index.ts";
import { defineResource } from "../../client/index.ts";
import type { Stored } from "../../client/index.ts";
import type { ClusterState } from "../cluster-state.ts";
import type { ApiServer } from "../machinery/options.ts";
import { GroupRegistration } from "./api-services.ts";
import { findConflict, isEstablished, statusFor } from "./conditions.ts";
import { callWebhook } from "../webhook-client.ts";
import { conversionFor } from "./conversion.ts";
import type { Caller } from "./conversion.ts";

interface CustomResourceOptions {
  readonly state: ClusterState;
  readonly server: ApiServer;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
}

type Definition = k8s.CustomResourceDefinition;
const resource = defineResource<Definition>(
  "apiextensions.k8s.io/v1",
  "customresourcedefinitions",
  "CustomResourceDefinition",
  false,
);
/** Upstream waits as long. */
const conversionTimeoutMs = 30_000;
const cleanupFinalizer = "customresourcecleanup.apiextensions.k8s.io";

/** Serves the resources that CustomResourceDefinitions define: those there are when this resolves, others as they come and go. */
export async function serveCustomResources(options: CustomResourceOptions): Promise<void> {
  const definitions = await options.state.customResourceDefinitions.ready();
  const keeper = new Keeper(options, () => definitions.list());
  const groups = new GroupRegistration(options.state, options.log, () => definitions.list());
  const changed = (definition: Stored<Definition>) => {
    keeper.enqueue(definition);
    groups.changed();
  };
  definitions.onChange({
    added: changed,
    updated: changed,
    deleted: (definition) => {
      keeper.withdraw(definition);
      groups.changed();
    },
  });
  groups.changed();
  await keeper.settled();
}

/** One definition after another, since names are given to whoever comes first. */
class Keeper {
  readonly #options: CustomResourceOptions;
  readonly #all: () => readonly Stored<Definition>[];
  #work: Promise<void> = Promise.resolve();

  constructor(options: CustomResourceOptions, all: () => readonly Stored<Definition>[]) {
    this.#options = options;
    this.#all = all;
  }

  settled(): Promise<void> {
    return this.#work;
  }

  enqueue(definition: Stored<Definition>): void {
    this.#work = this.#work.then(() =>
      this.#reconcile(definition).catch((error: unknown) => {
        this.#options.log.warn("a CustomResourceDefinition is not served", {
          name: definition.metadata.name,
          error: messageOf(error),
        });
      }),
    );
  }

  withdraw(definition: Definition): void {
    this.#withdrawBut(new Set(), definition);
  }

  /** Versions that the definition has lost are in it no more: what is served is asked. */
  #withdrawBut(served: ReadonlySet<string>, { spec }: Definition): void {
    const { kinds } = this.#options.server;
    for (const { group, version, plural, custom } of kinds.all())
      if (custom && group === spec.group && plural === spec.names.plural && !served.has(version))
        kinds.remove(group, version, plural);
  }

  async #reconcile(definition: Stored<Definition>): Promise<void> {
    if (definition.metadata.deletionTimestamp !== undefined) return this.#cleanUp(definition);
    const status = statusFor(definition, findConflict(definition, this.#all()), this.#options.clock.nowMs());
    // Served before it is said to be: who waits for Established may call at once.
    const current = status === undefined ? definition : { ...definition, status };
    if (isEstablished(current)) await this.#serve(current);
    if (status === undefined) return;
    try {
      await this.#options.state.client.of(resource).updateStatus(current);
    } catch (error) {
      // The newer one is on its way to us.
      if (!hasCode(error, "conflict", "notFound")) throw error;
    }
  }

  async #serve(definition: Definition): Promise<void> {
    // CEL and regular expressions are only loaded by clusters that have custom resources.
    const { kindsOf } = await import("./kinds.ts");
    const { server, random, state } = this.#options;
    const call: Caller = (config, review) => callWebhook(state, config, review, conversionTimeoutMs);
    const kinds = kindsOf(definition, (version) => conversionFor(definition, version, call, () => randomUuid(random)));
    this.#withdrawBut(new Set(kinds.map(({ version }) => version)), definition);
    server.kinds.add(kinds);
  }

  /** Its objects go first, then it may go itself. */
  async #cleanUp(definition: Stored<Definition>): Promise<void> {
    if (!definition.metadata.finalizers?.includes(cleanupFinalizer)) return;
    const { spec, metadata } = definition;
    const { client } = this.#options.state;
    if (isEstablished(definition)) {
      const version = spec.versions.find(({ served }) => served)?.name;
      const kind =
        version === undefined ? undefined : this.#options.server.kinds.find(spec.group, version, spec.names.plural);
      if (kind !== undefined) {
        const custom = defineResource(`${spec.group}/${version}`, spec.names.plural, spec.names.kind, kind.namespaced);
        const { items } = await client.of(custom).list();
        for (const item of items)
          await client.of(custom).delete({ name: item.metadata.name, namespace: item.metadata.namespace });
      }
    }
    const finalizers = metadata.finalizers!.filter((name) => name !== cleanupFinalizer);
    await client.of(resource).update({ ...definition, metadata: { ...metadata, finalizers } });
  }
}
