import { hasCode, messageOf, rfc3339Micro, type Clock, type Logger, type Random } from "../base/index.ts";
import type { k8s } from "../api/index.ts";
import type { KubeClient } from "./client.ts";
import { draft, type Stored } from "./resource.ts";
import { resources } from "./resources.ts";

export interface LeaderElectionOptions {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly namespace?: string;
  /** The Lease, for example `kube-scheduler`. */
  readonly name: string;
  /** Unique per candidate. */
  readonly identity: string;
  readonly leaseMs?: number;
  readonly renewDeadlineMs?: number;
  readonly retryMs?: number;
}

/**
 * Runs `lead` while this candidate holds the Lease; its signal aborts as soon as the lease could not be renewed in time. Time is judged by
 * this candidate's own clock since it last saw the Lease change, so clocks need not agree. Upstream: client-go/tools/leaderelection.
 */
export class LeaderElector {
  readonly #options: Required<Omit<LeaderElectionOptions, "log">> & { log: Logger };
  #seen: { version: string; atMs: number } | undefined;

  constructor(options: LeaderElectionOptions) {
    this.#options = { namespace: "kube-system", leaseMs: 15_000, renewDeadlineMs: 10_000, retryMs: 2_000, ...options };
  }

  /** Until the signal aborts: waits for leadership, leads, and when it is lost waits again. */
  async run(lead: (signal: AbortSignal) => Promise<void>, signal: AbortSignal): Promise<void> {
    const { clock, random, retryMs } = this.#options;
    while (!signal.aborted) {
      if (await this.#tryHold(signal)) await this.#lead(lead, signal);
      else await clock.sleep(retryMs * (1 + random.float() * 0.2), signal).catch(() => {});
    }
  }

  async #lead(lead: (signal: AbortSignal) => Promise<void>, signal: AbortSignal): Promise<void> {
    const { clock, renewDeadlineMs, retryMs, log, name } = this.#options;
    const term = new AbortController();
    const either = AbortSignal.any([signal, term.signal]);
    log.info("became leader", { lease: name });
    const work = lead(either);
    let renewedMs = clock.monotonicMs();
    while (!either.aborted) {
      await clock.sleep(retryMs, either).catch(() => {});
      if (either.aborted) break;
      if (await this.#tryHold(either)) renewedMs = clock.monotonicMs();
      else if (clock.monotonicMs() - renewedMs >= renewDeadlineMs) {
        log.warn("lost leadership", { lease: name });
        term.abort();
      }
    }
    await work.catch((error: unknown) => log.error("the leader's work failed", { lease: name, error }));
    if (signal.aborted) await this.#release();
  }

  /** True when the Lease is ours after this call. */
  async #tryHold(signal: AbortSignal): Promise<boolean> {
    try {
      const lease = await this.#read(signal);
      if (!lease) return await this.#create(signal);
      if (!this.#mayTake(lease)) return false;
      await this.#options.client.of(resources.leases).update(this.#claimed(lease), { signal });
      return true;
    } catch (error) {
      if (!hasCode(error, "conflict", "alreadyExists")) {
        this.#options.log.debug("could not renew the lease", { error: messageOf(error) });
      }
      return false;
    }
  }

  async #read(signal: AbortSignal): Promise<Stored<k8s.Lease> | undefined> {
    const { client, name, namespace } = this.#options;
    try {
      return await client.of(resources.leases).get({ name, namespace }, { signal });
    } catch (error) {
      if (hasCode(error, "notFound")) return undefined;
      throw error;
    }
  }

  #mayTake(lease: Stored<k8s.Lease>): boolean {
    const { clock, identity, leaseMs } = this.#options;
    const version = lease.metadata.resourceVersion;
    if (this.#seen?.version !== version) this.#seen = { version, atMs: clock.monotonicMs() };
    const holder = lease.spec?.holderIdentity;
    return !holder || holder === identity || clock.monotonicMs() - this.#seen.atMs > leaseMs;
  }

  #claimed(lease: Stored<k8s.Lease>): k8s.Lease {
    const { clock, identity, leaseMs } = this.#options;
    const now = rfc3339Micro(clock.nowMs());
    const ours = lease.spec?.holderIdentity === identity;
    const spec = lease.spec ?? {};
    return {
      ...draft(lease),
      spec: {
        ...spec,
        holderIdentity: identity,
        leaseDurationSeconds: leaseMs / 1000,
        renewTime: now,
        acquireTime: ours ? spec.acquireTime : now,
        leaseTransitions: (spec.leaseTransitions ?? 0) + (ours ? 0 : 1),
      },
    };
  }

  async #create(signal: AbortSignal): Promise<boolean> {
    const { client, clock, name, namespace, identity, leaseMs } = this.#options;
    const now = rfc3339Micro(clock.nowMs());
    const spec = {
      holderIdentity: identity,
      leaseDurationSeconds: leaseMs / 1000,
      acquireTime: now,
      renewTime: now,
      leaseTransitions: 0,
    };
    await client.of(resources.leases).create({ metadata: { name, namespace }, spec }, { signal });
    return true;
  }

  async #release(): Promise<void> {
    const { client, identity } = this.#options;
    try {
      const lease = await this.#read(new AbortController().signal);
      if (lease?.spec?.holderIdentity !== identity) return;
      await client.of(resources.leases).update({ ...draft(lease), spec: { ...lease.spec, holderIdentity: "" } });
    } catch {
      // The next leader waits for the lease to run out instead.
    }
  }
}
