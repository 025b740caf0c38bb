import type { k8s } from "../../api/index.ts";
import {
  deadlineExceeded,
  failedPrecondition,
  invalidArgument,
  notFound,
  rfc3339,
  systemClock,
} from "../../base/index.ts";
import { draft, resources, type ObjectRef, type Stored } from "../../client/index.ts";
import { wait } from "../daemon-process.ts";
import { table } from "../output/table.ts";
import { print } from "../output/terminal.ts";
import { parseTargets, withCluster, type ScopeFlags, type Session } from "./cluster.ts";

export interface RolloutFlags extends ScopeFlags {
  readonly toRevision?: string;
  readonly timeout?: string;
}
type Verb = (session: Session, ref: ObjectRef, flags: RolloutFlags) => Promise<void>;

const REVISION = "deployment.kubernetes.io/revision";
const DEFAULT_TIMEOUT_S = 300;

/** `berth rollout VERB deployment/NAME`. Other kinds than Deployments are kubectl's. */
export async function rollout(verb: string, type: string, names: string[], flags: RolloutFlags): Promise<void> {
  const run = VERBS[verb];
  if (!run) throw invalidArgument(`there is no "rollout ${verb}"`, { hint: Object.keys(VERBS).join(", ") });
  await withCluster(async (session) => {
    for (const target of parseTargets(type, names)) {
      if (!/^(deploy|deployments?)(\.apps)?$/.test(target.type) || target.name === undefined)
        throw invalidArgument("rollout works on Deployments", { hint: `berth rollout ${verb} deployment/NAME` });
      await run(session, { name: target.name, namespace: flags.namespace ?? session.namespace }, flags);
    }
  });
}

const VERBS: Readonly<Record<string, Verb>> = {
  status: followStatus,
  history: printHistory,
  undo,
  restart: async ({ client }, ref) => {
    const annotations = { "kubectl.kubernetes.io/restartedAt": rfc3339(systemClock.nowMs()) };
    await client.of(resources.deployments).patch(ref, { spec: { template: { metadata: { annotations } } } });
    print(`deployment.apps/${ref.name} restarted`);
  },
  pause: (session, ref) => pause(session, ref, true),
  resume: (session, ref) => pause(session, ref, false),
};

async function pause({ client }: Session, ref: ObjectRef, paused: boolean): Promise<void> {
  await client.of(resources.deployments).patch(ref, { spec: { paused } });
  print(`deployment.apps/${ref.name} ${paused ? "paused" : "resumed"}`);
}

async function followStatus({ client }: Session, ref: ObjectRef, flags: RolloutFlags): Promise<void> {
  const seconds = flags.timeout === undefined ? DEFAULT_TIMEOUT_S : Number.parseFloat(flags.timeout);
  const deadlineMs = systemClock.monotonicMs() + seconds * 1000;
  let told = "";
  for (;;) {
    const { done, message } = rolloutState(await client.of(resources.deployments).get(ref));
    if (message !== told) print((told = message));
    if (done) return;
    if (systemClock.monotonicMs() > deadlineMs) throw deadlineExceeded(`not rolled out after ${seconds} s`);
    await wait(100);
  }
}

/** Where a rollout is, in kubectl's words. Throws failedPrecondition when its deadline is over. */
export function rolloutState({ metadata, spec, status = {} }: k8s.Deployment): { done: boolean; message: string } {
  const name = JSON.stringify(metadata?.name);
  const wanted = spec?.replicas ?? 1;
  const { updatedReplicas: updated = 0, replicas = 0, availableReplicas: available = 0 } = status;
  const waiting = (what: string) => ({
    done: false,
    message: `Waiting for deployment ${name} rollout to finish: ${what}...`,
  });
  if ((status.observedGeneration ?? 0) < (metadata?.generation ?? 0))
    return { done: false, message: "Waiting for deployment spec update to be observed..." };
  if (status.conditions?.some(({ type, reason }) => type === "Progressing" && reason === "ProgressDeadlineExceeded"))
    throw failedPrecondition(`deployment ${name} exceeded its progress deadline`);
  if (updated < wanted) return waiting(`${updated} out of ${wanted} new replicas have been updated`);
  if (replicas > updated) return waiting(`${replicas - updated} old replicas are pending termination`);
  if (available < updated) return waiting(`${available} of ${updated} updated replicas are available`);
  return { done: true, message: `deployment ${name} successfully rolled out` };
}

/** The Deployment's ReplicaSets by revision, oldest first. */
async function revisions(
  { client }: Session,
  ref: ObjectRef,
): Promise<[revision: number, set: Stored<k8s.ReplicaSet>][]> {
  const { metadata } = await client.of(resources.deployments).get(ref);
  const { items } = await client.of(resources.replicaSets).list({ namespace: ref.namespace });
  return items
    .filter((set) => set.metadata.ownerReferences?.some(({ uid }) => uid === metadata.uid))
    .map((set): [number, Stored<k8s.ReplicaSet>] => [Number(set.metadata.annotations?.[REVISION] ?? 0), set])
    .toSorted(([left], [right]) => left - right);
}

async function printHistory(session: Session, ref: ObjectRef): Promise<void> {
  const rows = (await revisions(session, ref)).map(([revision, { metadata }]) => [
    String(revision),
    metadata.annotations?.["kubernetes.io/change-cause"] ?? "<none>",
  ]);
  print(`deployment.apps/${ref.name}`);
  print(table(["REVISION", "CHANGE-CAUSE"], rows));
}

async function undo(session: Session, ref: ObjectRef, flags: RolloutFlags): Promise<void> {
  const known = await revisions(session, ref);
  const wanted =
    flags.toRevision === undefined ? known.at(-2) : known.find(([revision]) => String(revision) === flags.toRevision);
  if (!wanted)
    throw notFound(`no rollout history found for deployment "${ref.name}"`, {
      hint: `berth rollout history deployment/${ref.name}`,
    });
  const template = draft(wanted[1].spec!.template!);
  delete template.metadata?.labels?.["pod-template-hash"];
  const patch = [{ op: "replace", path: "/spec/template", value: template }];
  await session.client.of(resources.deployments).patch(ref, patch, { kind: "json", fieldManager: "berth" });
  print(`deployment.apps/${ref.name} rolled back`);
}
