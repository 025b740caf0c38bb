import { deadlineExceeded, invalidArgument, notFound, rfc3339, systemClock } from "../../base/index.ts";
import type { KubeClient, ObjectRef } from "../../client/index.ts";
import { wait } from "../daemon-process.ts";
import { findResource } from "../kubernetes/discovery.ts";
import { rolloutKind, type RolloutKind } from "../kubernetes/rollouts.ts";
import { table } from "../output/table.ts";
import { print } from "../output/terminal.ts";
import { parseTargets, withCluster, type ScopeFlags } from "./cluster.ts";

export interface RolloutFlags extends ScopeFlags {
  readonly toRevision?: string;
  readonly timeout?: string;
}

/** The workload that a verb is about. */
interface Workload {
  readonly client: KubeClient;
  readonly kind: RolloutKind;
  readonly ref: ObjectRef;
}
type Verb = (workload: Workload, flags: RolloutFlags) => Promise<void>;

const DEFAULT_TIMEOUT_S = 300;

/** `berth rollout VERB TYPE/NAME`: of Deployments, DaemonSets and StatefulSets. */
export async function rollout(verb: string, type: string, names: string[], flags: RolloutFlags): Promise<void> {
  const run = VERBS[verb];
  if (!run) throw invalidArgument(`there is no "rollout ${verb}"`, { hint: Object.keys(VERBS).join(", ") });
  await withCluster(async ({ client, types, namespace }) => {
    for (const target of parseTargets(type, names)) {
      const kind = rolloutKind(findResource(types, target.type));
      if (target.name === undefined)
        throw invalidArgument(`rollout ${verb} of what?`, { hint: `berth rollout ${verb} ${target.type}/NAME` });
      await run({ client, kind, ref: { name: target.name, namespace: flags.namespace ?? namespace } }, flags);
    }
  });
}

const VERBS: Readonly<Record<string, Verb>> = {
  status: followStatus,
  history: printHistory,
  undo,
  restart: async (workload) => {
    const annotations = { "kubectl.kubernetes.io/restartedAt": rfc3339(systemClock.nowMs()) };
    await change(workload, { spec: { template: { metadata: { annotations } } } });
    say(workload, "restarted");
  },
  pause: (workload) => pause(workload, true),
  resume: (workload) => pause(workload, false),
};

function say({ kind, ref }: Workload, what: string): void {
  print(`${kind.label}/${ref.name} ${what}`);
}

function change({ client, kind, ref }: Workload, patch: object): Promise<unknown> {
  return client.of(kind.resource).patch(ref, patch);
}

async function pause(workload: Workload, paused: boolean): Promise<void> {
  const { kind } = workload;
  if (!kind.pausable)
    throw invalidArgument(`${kind.resource.plural} can't be ${paused ? "paused" : "resumed"}`, {
      hint: "Deployments can",
    });
  await change(workload, { spec: { paused } });
  say(workload, paused ? "paused" : "resumed");
}

async function followStatus({ client, kind, ref }: Workload, flags: RolloutFlags): Promise<void> {
  const seconds = flags.timeout === undefined ? DEFAULT_TIMEOUT_S : Number.parseFloat(flags.timeout);
  const deadlineMs = systemClock.monotonicMs() + seconds * 1000;
  let told = "";
  for (;;) {
    const { done, message } = kind.state(await client.of(kind.resource).get(ref));
    if (message !== told) print((told = message));
    if (done) return;
    if (systemClock.monotonicMs() > deadlineMs) throw deadlineExceeded(`not rolled out after ${seconds} s`);
    await wait(100);
  }
}

async function printHistory({ client, kind, ref }: Workload): Promise<void> {
  const rows = (await kind.revisions(client, ref)).map(({ number, cause }) => [String(number), cause ?? "<none>"]);
  print(`${kind.label}/${ref.name}`);
  print(table(["REVISION", "CHANGE-CAUSE"], rows));
}

async function undo(workload: Workload, { toRevision }: RolloutFlags): Promise<void> {
  const { client, kind, ref } = workload;
  const known = await kind.revisions(client, ref);
  const wanted = toRevision === undefined ? known.at(-2) : known.find(({ number }) => String(number) === toRevision);
  if (!wanted)
    throw notFound(`no rollout history found for ${kind.label}/${ref.name}`, {
      hint: `berth rollout history ${kind.label}/${ref.name}`,
    });
  await wanted.restore();
  say(workload, "rolled back");
}
