import type { k8s } from "../../../../api/index.ts";
import type { FieldError } from "../../../machinery/kind.ts";
import { each, requiredName } from "../../shared/checks.ts";
import { duplicate, forbidden, invalid, notFound, oneOf, required, tooMany } from "../../shared/field-errors.ts";
import { isDns1123Label, isPortName, isPortNumber } from "../../shared/names.ts";
import { validateRequirements, validateResizePolicy } from "./compute.ts";
import { validateEnv, validateEnvFrom } from "./env.ts";
import { validateLifecycle, validateProbe } from "./handlers.ts";
import { validateDevices, validateMounts, type KnownVolumes } from "./mounts.ts";
import { validateContainerSecurity } from "./security.ts";

/** What a container's rules need to know of the Pod around it. */
export interface Surroundings {
  readonly volumes: KnownVolumes;
  readonly claims: ReadonlySet<string>;
  readonly graceSeconds: number;
  readonly podRestartPolicy: string | undefined;
  /** Whether the host's user namespace is used. */
  readonly hostUsers: boolean;
}

function validatePorts(ports: readonly k8s.ContainerPort[] | undefined, at: string): FieldError[] {
  const names = new Set<string>();
  return each(ports, at, ({ name, containerPort, hostPort, protocol }, here) => {
    const errors: FieldError[] = [];
    const wrong = name ? isPortName(name) : [];
    errors.push(...wrong.map((detail) => invalid(`${here}.name`, name, detail)));
    if (name && wrong.length === 0 && names.has(name)) errors.push(duplicate(`${here}.name`, name));
    else if (name && wrong.length === 0) names.add(name);
    if (!containerPort) errors.push(required(`${here}.containerPort`));
    else
      for (const detail of isPortNumber(containerPort))
        errors.push(invalid(`${here}.containerPort`, containerPort, detail));
    if (hostPort)
      for (const detail of isPortNumber(hostPort)) errors.push(invalid(`${here}.hostPort`, hostPort, detail));
    return [...errors, ...oneOf(`${here}.protocol`, protocol, ["SCTP", "TCP", "UDP"])];
  });
}

/** What holds for containers of every kind: upstream's validateContainerCommon. */
function validateCommon(container: k8s.Container, at: string, around: Surroundings): FieldError[] {
  return [
    ...requiredName(`${at}.name`, container.name, isDns1123Label),
    ...(container.image ? [] : [required(`${at}.image`)]),
    ...oneOf(`${at}.terminationMessagePolicy`, container.terminationMessagePolicy, ["File", "FallbackToLogsOnError"]),
    ...validatePorts(container.ports, `${at}.ports`),
    ...validateEnv(container.env, `${at}.env`),
    ...validateEnvFrom(container.envFrom, `${at}.envFrom`),
    ...validateMounts(container, around.volumes, `${at}.volumeMounts`),
    ...validateDevices(container, around.volumes, `${at}.volumeDevices`),
    ...oneOf(`${at}.imagePullPolicy`, container.imagePullPolicy, ["Always", "IfNotPresent", "Never"]),
    ...validateRequirements(container.resources, `${at}.resources`, around.claims),
    ...validateResizePolicy(container.resizePolicy, `${at}.resizePolicy`, around.podRestartPolicy),
    ...validateContainerSecurity(container.securityContext, `${at}.securityContext`, around.hostUsers),
  ];
}

const probes = ["livenessProbe", "readinessProbe", "startupProbe"] as const;

const validateHooks = (container: k8s.Container, at: string, { graceSeconds }: Surroundings): FieldError[] => [
  ...validateLifecycle(container.lifecycle, `${at}.lifecycle`, graceSeconds),
  ...probes.flatMap((probe) => validateProbe(container, probe, at, graceSeconds)),
];

const restartPolicies = ["Always", "Never", "OnFailure"];
const maxRestartRules = 20;
const maxExitCodes = 255;

/** A container's own restart policy and its exceptions by exit code. */
function validateRestart(container: k8s.Container, at: string): FieldError[] {
  const rules = container.restartPolicyRules ?? [];
  const errors = oneOf(`${at}.restartPolicy`, container.restartPolicy, restartPolicies);
  if (container.restartPolicy === undefined && rules.length > 0)
    errors.push(required(`${at}.restartPolicy`, "must specify restartPolicy when restart rules are used"));
  if (rules.length > maxRestartRules) errors.push(tooMany(`${at}.restartPolicyRules`, rules.length, maxRestartRules));
  return [
    ...errors,
    ...each(rules, `${at}.restartPolicyRules`, ({ action, exitCodes }, here) => [
      ...oneOf(`${here}.action`, action, ["Restart"]),
      ...(exitCodes === undefined
        ? [required(`${here}.exitCodes`, "must be specified")]
        : oneOf(`${here}.exitCodes.operator`, exitCodes.operator, ["In", "NotIn"])),
      ...((exitCodes?.values?.length ?? 0) > maxExitCodes
        ? [tooMany(`${here}.exitCodes.values`, exitCodes!.values!.length, maxExitCodes)]
        : []),
    ]),
  ];
}

/** Two ports of the host that are the same; each init container is looked at for itself, since they run one by one. */
function validateHostPorts(containers: readonly k8s.Container[], at: string): FieldError[] {
  const taken = new Set<string>();
  return each(containers, at, (container, here) =>
    each(container.ports, `${here}.ports`, ({ hostPort, hostIP = "", protocol }, portAt) => {
      if (!hostPort) return [];
      const key = `${protocol}/${hostIP}/${hostPort}`;
      if (taken.has(key)) return [duplicate(`${portAt}.hostPort`, key)];
      taken.add(key);
      return [];
    }),
  );
}

export function validateContainers(spec: k8s.PodSpec, at: string, around: Surroundings): FieldError[] {
  const containers = spec.containers ?? [];
  if (containers.length === 0) return [required(at)];
  const names = new Set<string>();
  const errors = each(containers, at, (container, here) => {
    const found = validateCommon(container, here, around);
    if (names.has(container.name)) found.push(duplicate(`${here}.name`, container.name));
    names.add(container.name);
    return [...found, ...validateHooks(container, here, around), ...validateRestart(container, here)];
  });
  return [...errors, ...validateHostPorts(containers, at)];
}

export function validateInitContainers(spec: k8s.PodSpec, at: string, around: Surroundings): FieldError[] {
  const names = new Set((spec.containers ?? []).map(({ name }) => name));
  return each(spec.initContainers, at, (container, here) => {
    const errors = validateCommon(container, here, around);
    errors.push(...validateRestart(container, here));
    if (names.has(container.name)) errors.push(duplicate(`${here}.name`, container.name));
    else if (container.name) names.add(container.name);
    errors.push(...validateHostPorts([container], at));
    if (container.restartPolicy === "Always") return [...errors, ...validateHooks(container, here, around)];
    for (const field of ["lifecycle", ...probes] as const)
      if (container[field] !== undefined)
        errors.push(forbidden(`${here}.${field}`, "may not be set for init containers without restartPolicy=Always"));
    if ((container.resizePolicy ?? []).length > 0)
      errors.push(invalid(`${here}.resizePolicy`, container.resizePolicy, "must not be set for init containers"));
    return errors;
  });
}

const notForEphemeral = [
  "ports",
  "resources",
  "livenessProbe",
  "readinessProbe",
  "startupProbe",
  "lifecycle",
  "resizePolicy",
  "restartPolicy",
  "restartPolicyRules",
] as const;
const isUnset = (value: unknown): boolean =>
  value === undefined || (typeof value === "object" && value !== null && Object.keys(value).length === 0);

export function validateEphemeralContainers(spec: k8s.PodSpec, at: string, around: Surroundings): FieldError[] {
  const others = new Set([...(spec.containers ?? []), ...(spec.initContainers ?? [])].map(({ name }) => name));
  const names = new Set(others);
  const detail = "cannot be set for an Ephemeral Container";
  return each(spec.ephemeralContainers, at, (ephemeral, here) => {
    const container = ephemeral as k8s.Container;
    const errors = [...validateCommon(container, here, around), ...validateImageSpace(container, here)];
    if (names.has(container.name)) errors.push(duplicate(`${here}.name`, container.name));
    names.add(container.name);
    if (ephemeral.targetContainerName && !others.has(ephemeral.targetContainerName))
      errors.push(notFound(`${here}.targetContainerName`, ephemeral.targetContainerName));
    for (const field of notForEphemeral)
      if (!isUnset(container[field])) errors.push(forbidden(`${here}.${field}`, detail));
    for (const [index, mount] of (container.volumeMounts ?? []).entries())
      for (const field of ["subPath", "subPathExpr"] as const)
        if (mount[field]) errors.push(forbidden(`${here}.volumeMounts[${index}].${field}`, detail));
    return errors;
  });
}

/** Pods only: templates may hold a placeholder. */
export const validateImageSpace = (container: k8s.Container, at: string): FieldError[] =>
  (container.image ?? "").trim() === (container.image ?? "")
    ? []
    : [invalid(`${at}.image`, container.image, "must not have leading or trailing whitespace")];

/** With the host's network a port is the host's. `isPod`: templates may leave hostPort to defaulting. */
export function validateHostNetworkPorts(spec: k8s.PodSpec, at: string, isPod: boolean): FieldError[] {
  if (!spec.hostNetwork) return [];
  return each(spec.containers, at, (container, here) =>
    each(container.ports, `${here}.ports`, ({ hostPort = 0, containerPort }, portAt) =>
      (isPod || hostPort !== 0) && hostPort !== containerPort
        ? [invalid(`${portAt}.hostPort`, hostPort, "must match `containerPort` when `hostNetwork` is true")]
        : [],
    ),
  );
}
