import type { k8s } from "../../api/index.ts";
import { rfc3339 } from "../../base/index.ts";

type Definition = k8s.CustomResourceDefinition;

interface NameConflict {
  readonly reason: string;
  readonly message: string;
}

/** A definition's names against those that others of its group hold already. */
export function findConflict(definition: Definition, others: readonly Definition[]): NameConflict | undefined {
  const taken = others
    .filter(({ spec, metadata }) => spec.group === definition.spec.group && metadata.name !== definition.metadata.name)
    .flatMap(({ status }) => (status?.acceptedNames?.kind ? [status.acceptedNames] : []));
  const { names } = definition.spec;
  const resources = new Set(
    taken.flatMap(({ plural, singular = "", shortNames = [] }) => [plural, singular, ...shortNames]),
  );
  const kinds = new Set(taken.flatMap(({ kind, listKind = "" }) => [kind, listKind]));
  const conflict = (reason: string, name: string): NameConflict => ({ reason, message: `"${name}" is already in use` });
  if (resources.has(names.plural)) return conflict("PluralConflict", names.plural);
  if (names.singular && resources.has(names.singular)) return conflict("SingularConflict", names.singular);
  for (const short of names.shortNames ?? []) if (resources.has(short)) return conflict("ShortNamesConflict", short);
  if (kinds.has(names.kind)) return conflict("KindConflict", names.kind);
  if (names.listKind && kinds.has(names.listKind)) return conflict("ListKindConflict", names.listKind);
  return undefined;
}

/** The status that a definition should have now, or undefined when it has it. */
export function statusFor(
  definition: Definition,
  conflict: NameConflict | undefined,
  nowMs: number,
): k8s.CustomResourceDefinitionStatus | undefined {
  const { spec, status } = definition;
  const storage = spec.versions.find((version) => version.storage)!.name;
  const wanted: Omit<k8s.CustomResourceDefinitionCondition, "lastTransitionTime">[] =
    conflict === undefined
      ? [
          { type: "NamesAccepted", status: "True", reason: "NoConflicts", message: "no conflicts found" },
          {
            type: "Established",
            status: "True",
            reason: "InitialNamesAccepted",
            message: "the initial names have been accepted",
          },
        ]
      : [
          { type: "NamesAccepted", status: "False", ...conflict },
          { type: "Established", status: "False", reason: "NotAccepted", message: "not all names are accepted" },
        ];
  const conditions = wanted.map((condition) => {
    const before = status?.conditions?.find(({ type }) => type === condition.type);
    const isSame = before?.status === condition.status && before.reason === condition.reason;
    return isSame ? before : { ...condition, lastTransitionTime: rfc3339(nowMs) };
  });
  const kept = (status?.conditions ?? []).filter(
    ({ type }) => !conditions.some((condition) => condition.type === type),
  );
  const next: k8s.CustomResourceDefinitionStatus = {
    conditions: [...kept, ...conditions],
    acceptedNames: conflict === undefined ? spec.names : (status?.acceptedNames ?? { plural: "", kind: "" }),
    storedVersions: [...new Set([...(status?.storedVersions ?? []), storage])],
  };
  return JSON.stringify(next) === JSON.stringify(status) ? undefined : next;
}

export const isEstablished = ({ status }: Definition): boolean =>
  status?.conditions?.some(({ type, status: value }) => type === "Established" && value === "True") === true;
