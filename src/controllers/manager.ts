import { messageOf, type Clock, type Logger, type Metrics, type Random } from "../base/index.ts";
import { createEventRecorder, InformerFactory, KubeClient, WorkQueue } from "../client/index.ts";
import type { UserInfo } from "../api/index.ts";
import type { ClusterSettings, Controller, ControllerContext } from "./controller.ts";

export interface ControllerManagerOptions {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly controllers: readonly Controller[];
  readonly settings?: ClusterSettings;
  /** Shared with the scheduler and others in the process. */
  readonly informers?: InformerFactory;
  readonly metrics?: Metrics;
}

const DEFAULT_WORKERS = 5;

/** Each controller acts under its own service account, as upstream's `--use-service-account-credentials`. */
function controllerUser(name: string): UserInfo {
  return {
    name: `system:serviceaccount:kube-system:${name}`,
    groups: ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"],
  };
}

const managerUser: UserInfo = { name: "system:kube-controller-manager", groups: ["system:authenticated"] };

export interface ControllerManager {
  /** Resolves when every informer has synced and the workers run. */
  readonly ready: Promise<void>;
  /** Resolves when the signal has aborted and all workers have stopped. */
  readonly stopped: Promise<void>;
  /** Keys waiting or being handled, for tests and metrics. */
  depth(): Readonly<Record<string, number>>;
}

/** Runs controllers over shared informers until the signal aborts. */
export function runControllers(options: ControllerManagerOptions, signal: AbortSignal): ControllerManager {
  const informers = options.informers ?? new InformerFactory(options);
  const running = options.controllers.map((controller) => prepare(controller, options, informers));
  informers.start(signal);
  const ready = informers.whenSynced();
  const stopped = ready.then(async () => {
    await Promise.all(running.map(({ run }) => run(signal)));
  });
  return {
    ready,
    stopped,
    depth: () => Object.fromEntries(running.map(({ name, queue }) => [name, queue.busy])),
  };
}

function prepare(controller: Controller, options: ControllerManagerOptions, informers: InformerFactory) {
  const { clock, random, metrics } = options;
  const log = options.log.with({ controller: controller.name });
  const client = options.client.as(
    controller.asManager ? managerUser : controllerUser(controller.serviceAccount ?? controller.name),
    `berth-controllers/${controller.name}`,
  );
  const queue = new WorkQueue({ clock, log, measured: metrics && { metrics, name: controller.name } });
  const context: ControllerContext = {
    client,
    informers,
    clock,
    random,
    log,
    events: createEventRecorder({ client, clock, random, log, component: controller.component ?? controller.name }),
    settings: options.settings ?? {},
    informer: (resource) => informers.for(resource),
    enqueue: (key) => queue.add(key),
    enqueueAfter: (key, delayMs) => queue.addAfter(key, delayMs),
  };
  const reconciler = controller.setup(context);
  const handle = async (key: string, signal: AbortSignal) => {
    try {
      const result = await reconciler.reconcile(key, signal);
      if (result?.requeueAfterMs !== undefined) queue.addAfter(key, result.requeueAfterMs);
    } catch (error) {
      if (queue.failures(key) >= 3) log.warn("a key keeps failing", { key, error: messageOf(error) });
      throw error;
    }
  };
  const run = (signal: AbortSignal) => queue.run(controller.workers ?? DEFAULT_WORKERS, handle, signal);
  return { name: controller.name, queue, run };
}
