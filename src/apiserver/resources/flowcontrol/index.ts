import type { k8s } from "../../../api/index.ts";
import { ageColumn, integer, nameColumn, text } from "../shared/columns.ts";
import type { GroupKinds } from "../shared/peculiarities.ts";
import { validateFlowSchema, validatePriorityLevel } from "./validation.ts";

type Flow = k8s.FlowSchema;
type Level = k8s.PriorityLevelConfiguration;

const queuing = ({ spec }: Level) => spec?.limited?.limitResponse?.queuing;
const orNone = (value: number | undefined): string => (value === undefined ? "<none>" : String(value));

export const flowcontrolKinds: GroupKinds = {
  flowschemas: {
    hasGeneration: true,
    validate: validateFlowSchema,
    fillDefaults(object) {
      ((object as Flow).spec ??= {} as k8s.FlowSchemaSpec).matchingPrecedence ??= 1000;
    },
    columns: [
      nameColumn,
      text<Flow>("PriorityLevel", ({ spec }) => spec?.priorityLevelConfiguration.name ?? ""),
      integer<Flow>("MatchingPrecedence", ({ spec }) => spec?.matchingPrecedence ?? 1000),
      text<Flow>("DistinguisherMethod", ({ spec }) => spec?.distinguisherMethod?.type ?? "<none>"),
      ageColumn,
      text<Flow>(
        "MissingPL",
        ({ status }) => status?.conditions?.find(({ type }) => type === "Dangling")?.status ?? "?",
      ),
    ],
  },
  prioritylevelconfigurations: {
    hasGeneration: true,
    validate: validatePriorityLevel,
    fillDefaults(object) {
      const limited = (object as Level).spec?.limited;
      if (limited === undefined) return;
      limited.nominalConcurrencyShares ??= 30;
      limited.lendablePercent ??= 0;
      const queues = limited.limitResponse?.queuing;
      if (queues === undefined) return;
      queues.queues ??= 64;
      queues.handSize ??= 8;
      queues.queueLengthLimit ??= 50;
    },
    columns: [
      nameColumn,
      text<Level>("Type", ({ spec }) => spec?.type ?? ""),
      text<Level>("NominalConcurrencyShares", ({ spec }) =>
        orNone(spec?.limited?.nominalConcurrencyShares ?? spec?.exempt?.nominalConcurrencyShares),
      ),
      text<Level>("Queues", (object) => orNone(queuing(object)?.queues)),
      text<Level>("HandSize", (object) => orNone(queuing(object)?.handSize)),
      text<Level>("QueueLengthLimit", (object) => orNone(queuing(object)?.queueLengthLimit)),
      ageColumn,
    ],
  },
};
