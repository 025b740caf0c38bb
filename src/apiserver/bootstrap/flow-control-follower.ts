import type { k8s } from "../../api/index.ts";
import { hasCode, messageOf, rfc3339, type Clock, type Logger } from "../../base/index.ts";
import { defineResource, type Stored } from "../../client/index.ts";
import type { ClusterState } from "../cluster-state.ts";
import type { FlowControl } from "../machinery/fairness/fairness.ts";

const schemasOf = defineResource<k8s.FlowSchema>("flowcontrol.apiserver.k8s.io/v1", "flowschemas", "FlowSchema", false);

/** Keeps priority and fairness as FlowSchema and PriorityLevelConfiguration objects say, and tells each schema whether its level exists. */
export async function followFlowControl(
  state: ClusterState,
  control: FlowControl,
  { clock, log }: { clock: Clock; log: Logger },
): Promise<void> {
  const [schemas, levels] = await Promise.all([state.flowSchemas.ready(), state.priorityLevels.ready()]);
  const changed = () => {
    const known = levels.list();
    control.configure(schemas.list(), known);
    const names = new Set(known.map(({ metadata }) => metadata.name));
    for (const schema of schemas.list()) void tell(state, schema, names, rfc3339(clock.nowMs())).catch(failed);
  };
  const failed = (error: unknown) => {
    if (!hasCode(error, "notFound", "conflict", "canceled", "unavailable"))
      log.warn("the status of a flow schema was not written", { error: messageOf(error) });
  };
  for (const informer of [schemas, levels]) informer.onChange({ added: changed, updated: changed, deleted: changed });
}

async function tell(
  state: ClusterState,
  schema: Stored<k8s.FlowSchema>,
  levels: ReadonlySet<string>,
  now: string,
): Promise<void> {
  const { name = "" } = schema.spec?.priorityLevelConfiguration ?? {};
  const exists = levels.has(name);
  const old = schema.status?.conditions?.find(({ type }) => type === "Dangling");
  const status = exists ? "False" : "True";
  if (old?.status === status) return;
  const condition = {
    type: "Dangling",
    status,
    reason: exists ? "Found" : "NotFound",
    message: `This FlowSchema references the PriorityLevelConfiguration object named ${JSON.stringify(name)} ${exists ? "and it exists" : "but there is no such object"}`,
    lastTransitionTime: now,
  };
  const others = schema.status?.conditions?.filter(({ type }) => type !== "Dangling") ?? [];
  await state.client
    .of(schemasOf)
    .updateStatus({ ...schema, status: { ...schema.status, conditions: [...others, condition] } });
}
