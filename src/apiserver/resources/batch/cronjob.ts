import type { k8s } from "../../../api/index.ts";
import type { FieldError } from "../../machinery/kind.ts";
import { defaultPodTemplate } from "../core/pod-defaults.ts";
import {
  ageColumn,
  boolean,
  containerImages,
  containerNames,
  formatSelector,
  integer,
  nameColumn,
  since,
  text,
  wide,
} from "../shared/columns.ts";
import { invalid, nonNegative, oneOf, required } from "../shared/field-errors.ts";
import type { Peculiarities } from "../shared/peculiarities.ts";
import { validateJobSpec } from "./job-validation.ts";
import { checkSchedule } from "./schedule.ts";

type CronJob = k8s.CronJob;

export const cronJob: Peculiarities = {
  shortNames: ["cj"],
  categories: ["all"],
  hasGeneration: true,
  defaultPropagation: "Background",
  fillDefaults(object) {
    const spec = ((object as CronJob).spec ??= {} as k8s.CronJobSpec);
    spec.concurrencyPolicy ??= "Allow";
    spec.suspend ??= false;
    spec.successfulJobsHistoryLimit ??= 3;
    spec.failedJobsHistoryLimit ??= 1;
    if (spec.jobTemplate !== undefined) {
      (spec.jobTemplate as { metadata?: object }).metadata ??= {};
      const template = (spec.jobTemplate.spec ??= {} as k8s.JobSpec);
      // Only the Pod template's defaults: the Job takes the rest when it is made.
      defaultPodTemplate(template.template);
    }
  },
  validate: (object) => validateSpec((object as CronJob).spec, (object as CronJob).metadata.name),
  columns: [
    nameColumn,
    text<CronJob>("Schedule", ({ spec }) => spec?.schedule ?? ""),
    text<CronJob>("Timezone", ({ spec }) => spec?.timeZone ?? "<none>"),
    boolean<CronJob>("Suspend", ({ spec }) =>
      spec?.suspend === undefined ? "<unset>" : spec.suspend ? "True" : "False",
    ),
    integer<CronJob>("Active", ({ status }) => status?.active?.length ?? 0),
    text<CronJob>("Last Schedule", ({ status }, nowMs) =>
      status?.lastScheduleTime ? since(status.lastScheduleTime, nowMs) : "<none>",
    ),
    ageColumn,
    wide(text<CronJob>("Containers", ({ spec }) => containerNames(spec?.jobTemplate.spec?.template))),
    wide(text<CronJob>("Images", ({ spec }) => containerImages(spec?.jobTemplate.spec?.template))),
    wide(text<CronJob>("Selector", ({ spec }) => formatSelector(spec?.jobTemplate.spec?.selector))),
  ],
};

function validateSpec(spec: k8s.CronJobSpec | undefined, name = ""): FieldError[] {
  const errors: FieldError[] = [];
  if (name.length > 52) errors.push(invalid("metadata.name", name, "must be no more than 52 characters"));
  if (!spec?.schedule) errors.push(required("spec.schedule"));
  else {
    const problem = /TZ=/.test(spec.schedule)
      ? "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
      : checkSchedule(spec.schedule);
    if (problem !== undefined) errors.push(invalid("spec.schedule", spec.schedule, problem));
  }
  errors.push(...nonNegative("spec.startingDeadlineSeconds", spec?.startingDeadlineSeconds));
  errors.push(...oneOf("spec.concurrencyPolicy", spec?.concurrencyPolicy, ["Allow", "Forbid", "Replace"]));
  errors.push(...validateTimeZone(spec?.timeZone));
  errors.push(...validateJobSpec(spec?.jobTemplate?.spec, "spec.jobTemplate.spec"));
  errors.push(...nonNegative("spec.successfulJobsHistoryLimit", spec?.successfulJobsHistoryLimit));
  errors.push(...nonNegative("spec.failedJobsHistoryLimit", spec?.failedJobsHistoryLimit));
  return errors;
}

function validateTimeZone(name: string | undefined): FieldError[] {
  const at = "spec.timeZone";
  if (name === undefined) return [];
  if (name === "") return [invalid(at, name, "timeZone must be nil or non-empty string")];
  if (name.toLowerCase() === "local")
    return [invalid(at, name, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones")];
  return isTimeZone(name) ? [] : [invalid(at, name, `unknown time zone ${name}`)];
}

function isTimeZone(name: string): boolean {
  try {
    new Intl.DateTimeFormat("en", { timeZone: name });
    return true;
  } catch {
    return false;
  }
}
