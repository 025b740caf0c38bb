import type { k8s } from "../../../api/index.ts";
import type { FieldError } from "../../machinery/kind.ts";
import { defaultPodTemplate } from "../core/pod-defaults.ts";
import { ageColumn, integer, nameColumn, text } from "../shared/columns.ts";
import { forbidden, immutable, invalid, nonNegative, oneOf } from "../shared/field-errors.ts";
import { isPercent, percentOrNumber, validateIntOrPercent } from "../shared/int-or-percent.ts";
import type { Peculiarities } from "../shared/peculiarities.ts";
import { validateWorkload, workloadScale, workloadWideColumns } from "./workload.ts";

type Deployment = k8s.Deployment;

export const deployment: Peculiarities = {
  shortNames: ["deploy"],
  categories: ["all"],
  scale: { ...workloadScale, selector: "spec.selector" },
  hasGeneration: true,
  defaultPropagation: "Background",
  fillDefaults(object) {
    const spec = ((object as Deployment).spec ??= {} as k8s.DeploymentSpec);
    spec.replicas ??= 1;
    spec.revisionHistoryLimit ??= 10;
    spec.progressDeadlineSeconds ??= 600;
    spec.strategy ??= {};
    spec.strategy.type ??= "RollingUpdate";
    if (spec.strategy.type === "RollingUpdate") {
      spec.strategy.rollingUpdate ??= {};
      spec.strategy.rollingUpdate.maxUnavailable ??= "25%";
      spec.strategy.rollingUpdate.maxSurge ??= "25%";
    }
    defaultPodTemplate(spec.template);
  },
  validate: (object) => validateSpec((object as Deployment).spec),
  validateUpdate: (object, old) => [
    ...validateSpec((object as Deployment).spec),
    ...immutable("spec.selector", (object as Deployment).spec?.selector, (old as Deployment).spec?.selector),
  ],
  columns: [
    nameColumn,
    text<Deployment>("Ready", ({ spec, status }) => `${status?.readyReplicas ?? 0}/${spec?.replicas ?? 0}`),
    integer<Deployment>("Up-to-date", ({ status }) => status?.updatedReplicas ?? 0),
    integer<Deployment>("Available", ({ status }) => status?.availableReplicas ?? 0),
    ageColumn,
    ...workloadWideColumns,
  ],
};

function validateSpec(spec: k8s.DeploymentSpec | undefined): FieldError[] {
  return [
    ...nonNegative("spec.replicas", spec?.replicas),
    ...validateWorkload(spec, "deployment"),
    ...validateStrategy(spec?.strategy),
    ...nonNegative("spec.minReadySeconds", spec?.minReadySeconds),
    ...nonNegative("spec.revisionHistoryLimit", spec?.revisionHistoryLimit),
    ...validateDeadline(spec),
  ];
}

function validateDeadline(spec: k8s.DeploymentSpec | undefined): FieldError[] {
  const deadline = spec?.progressDeadlineSeconds;
  if (deadline === undefined) return [];
  const errors = nonNegative("spec.progressDeadlineSeconds", deadline);
  if (deadline <= (spec?.minReadySeconds ?? 0))
    errors.push(invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds"));
  return errors;
}

function validateStrategy(strategy: k8s.DeploymentStrategy | undefined): FieldError[] {
  const at = "spec.strategy";
  if (strategy?.type === "Recreate")
    return strategy.rollingUpdate === undefined
      ? []
      : [forbidden(`${at}.rollingUpdate`, "may not be specified when strategy `type` is 'Recreate'")];
  const errors = oneOf(`${at}.type`, strategy?.type, ["Recreate", "RollingUpdate"]);
  const rolling = strategy?.rollingUpdate;
  if (errors.length > 0 || rolling === undefined) return errors;
  errors.push(...validateIntOrPercent(`${at}.rollingUpdate.maxUnavailable`, rolling.maxUnavailable));
  errors.push(...validateIntOrPercent(`${at}.rollingUpdate.maxSurge`, rolling.maxSurge));
  if (percentOrNumber(rolling.maxUnavailable) === 0 && percentOrNumber(rolling.maxSurge) === 0)
    errors.push(
      invalid(`${at}.rollingUpdate.maxUnavailable`, rolling.maxUnavailable, "may not be 0 when `maxSurge` is 0"),
    );
  if (isPercent(rolling.maxUnavailable) && percentOrNumber(rolling.maxUnavailable) > 100)
    errors.push(invalid(`${at}.rollingUpdate.maxUnavailable`, rolling.maxUnavailable, "must not be greater than 100%"));
  return errors;
}
