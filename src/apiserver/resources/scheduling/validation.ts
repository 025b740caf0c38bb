import type { k8s, KubeObject } from "../../../api/index.ts";
import type { FieldError } from "../../machinery/kind.ts";
import { forbidden, immutable, oneOf } from "../shared/field-errors.ts";

type Class = k8s.PriorityClass;

/** Above it is the system's. */
const highestUserPriority = 1_000_000_000;
const systemClasses: Readonly<Record<string, number>> = {
  "system-cluster-critical": 2_000_000_000,
  "system-node-critical": 2_000_001_000,
};

export function validatePriorityClass(object: KubeObject): FieldError[] {
  const { metadata, value, preemptionPolicy } = object as Class;
  const name = metadata.name ?? "";
  const errors: FieldError[] = [];
  if (name.startsWith("system-")) {
    if (systemClasses[name] === undefined || systemClasses[name] !== value)
      errors.push(
        forbidden(
          "metadata.name",
          "priority class names with 'system-' prefix are reserved for system use only. error: " +
            (systemClasses[name] === undefined
              ? `${name} is not a known system priority class`
              : `value of ${name} PriorityClass must be ${systemClasses[name]}`),
        ),
      );
  } else if (value > highestUserPriority) {
    errors.push(forbidden("value", `maximum allowed value of a user defined priority is ${highestUserPriority}`));
  }
  return [...errors, ...oneOf("preemptionPolicy", preemptionPolicy, ["PreemptLowerPriority", "Never"])];
}

export const validatePriorityClassChange = (now: Class, old: Class): FieldError[] => [
  ...(now.value === old.value ? [] : [forbidden("value", "may not be changed in an update.")]),
  ...immutable("preemptionPolicy", now.preemptionPolicy, old.preemptionPolicy),
];
