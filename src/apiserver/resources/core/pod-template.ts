import type { k8s } from "../../../api/index.ts";
import { parseQuantityNano } from "../../../base/index.ts";
import type { FieldError } from "../../machinery/kind.ts";
import { forbidden, invalid, nonNegative, notFound, oneOf, required } from "../shared/field-errors.ts";
import {
  isDns1123Label,
  isDns1123Subdomain,
  isEnvVarName,
  isPortName,
  isPortNumber,
  isQualifiedName,
} from "../shared/names.ts";
import { validateAnnotations, validateLabels, validateUnique } from "../shared/object-meta.ts";

/** Upstream's ValidatePodTemplateSpec. `claims` are volumes that the template need not list: a StatefulSet's claim templates. */
export function validatePodTemplate(
  template: k8s.PodTemplateSpec,
  at: string,
  claims: readonly string[] = [],
): FieldError[] {
  return [
    ...validateLabels(template.metadata?.labels, `${at}.metadata.labels`),
    ...validateAnnotations(template.metadata?.annotations, `${at}.metadata.annotations`),
    ...validatePodSpec(template.spec, `${at}.spec`, claims),
  ];
}

/** Upstream's ValidatePodSpec: field paths begin at `at`. */
export function validatePodSpec(
  spec: k8s.PodSpec | undefined,
  at: string,
  claims: readonly string[] = [],
): FieldError[] {
  if (spec === undefined) return [required(`${at}.containers`)];
  const volumes = new Set([...(spec.volumes ?? []).map(({ name }) => name), ...claims]);
  return [
    ...validateVolumes(spec.volumes ?? [], `${at}.volumes`),
    ...validateContainerList(spec, volumes, at),
    ...oneOf(`${at}.restartPolicy`, spec.restartPolicy, ["Always", "OnFailure", "Never"]),
    ...oneOf(`${at}.dnsPolicy`, spec.dnsPolicy, ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"]),
    ...validateLabels(spec.nodeSelector, `${at}.nodeSelector`),
    ...(spec.serviceAccountName ? isDns1123Subdomain(spec.serviceAccountName) : []).map((detail) =>
      invalid(`${at}.serviceAccountName`, spec.serviceAccountName, detail),
    ),
    ...(spec.nodeName ? isDns1123Subdomain(spec.nodeName) : []).map((detail) =>
      invalid(`${at}.nodeName`, spec.nodeName, detail),
    ),
    ...(spec.hostname ? isDns1123Label(spec.hostname) : []).map((detail) =>
      invalid(`${at}.hostname`, spec.hostname, detail),
    ),
    ...(spec.subdomain ? isDns1123Label(spec.subdomain) : []).map((detail) =>
      invalid(`${at}.subdomain`, spec.subdomain, detail),
    ),
    ...nonNegative(`${at}.terminationGracePeriodSeconds`, spec.terminationGracePeriodSeconds),
    ...validateDeadline(spec, at),
    ...(spec.tolerations ?? []).flatMap((item, index) => validateToleration(item, `${at}.tolerations[${index}]`)),
    ...(spec.topologySpreadConstraints ?? []).flatMap((item, index) =>
      validateSpread(item, `${at}.topologySpreadConstraints[${index}]`),
    ),
  ];
}

function validateDeadline(spec: k8s.PodSpec, at: string): FieldError[] {
  const deadline = spec.activeDeadlineSeconds;
  if (deadline === undefined || (deadline >= 1 && deadline <= 2_147_483_647)) return [];
  return [invalid(`${at}.activeDeadlineSeconds`, deadline, "must be between 1 and 2147483647, inclusive")];
}

function validateContainerList(spec: k8s.PodSpec, volumes: ReadonlySet<string>, at: string): FieldError[] {
  const errors: FieldError[] = [];
  if ((spec.containers ?? []).length === 0) errors.push(required(`${at}.containers`));
  for (const [index, container] of (spec.containers ?? []).entries())
    errors.push(...validateContainer(container, volumes, `${at}.containers[${index}]`));
  for (const [index, container] of (spec.initContainers ?? []).entries())
    errors.push(...validateInitContainer(container, volumes, `${at}.initContainers[${index}]`));
  const names = [...(spec.containers ?? []), ...(spec.initContainers ?? [])].map(({ name }) => name);
  const inMain = spec.containers?.length ?? 0;
  errors.push(
    ...validateUnique(names, (index) =>
      index < inMain ? `${at}.containers[${index}].name` : `${at}.initContainers[${index - inMain}].name`,
    ),
  );
  return errors;
}

/** Init containers that restart are sidecars, which alone may have probes and hooks. */
function validateInitContainer(container: k8s.Container, volumes: ReadonlySet<string>, at: string): FieldError[] {
  const errors = validateContainer(container, volumes, at);
  if (container.restartPolicy === "Always") return errors;
  const extras = ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] as const;
  for (const field of extras)
    if (container[field] !== undefined)
      errors.push(forbidden(`${at}.${field}`, "may not be set for init containers without restartPolicy=Always"));
  return errors;
}

function validateContainer(container: k8s.Container, volumes: ReadonlySet<string>, at: string): FieldError[] {
  const errors: FieldError[] = [];
  if (!container.name) errors.push(required(`${at}.name`));
  else errors.push(...isDns1123Label(container.name).map((detail) => invalid(`${at}.name`, container.name, detail)));
  if (!container.image) errors.push(required(`${at}.image`));
  else if (container.image.trim() !== container.image)
    errors.push(invalid(`${at}.image`, container.image, "must not have leading or trailing whitespace"));
  errors.push(...oneOf(`${at}.imagePullPolicy`, container.imagePullPolicy, ["Always", "IfNotPresent", "Never"]));
  errors.push(
    ...oneOf(`${at}.terminationMessagePolicy`, container.terminationMessagePolicy, ["FallbackToLogsOnError", "File"]),
  );
  errors.push(...validatePorts(container.ports ?? [], `${at}.ports`));
  errors.push(...(container.env ?? []).flatMap((item, index) => validateEnv(item, `${at}.env[${index}]`)));
  errors.push(...validateMounts(container, volumes, at));
  errors.push(...validateProbe(container.livenessProbe, `${at}.livenessProbe`, true));
  errors.push(...validateProbe(container.readinessProbe, `${at}.readinessProbe`, false));
  errors.push(...validateProbe(container.startupProbe, `${at}.startupProbe`, true));
  errors.push(...validateResources(container.resources, `${at}.resources`));
  return errors;
}

function validatePorts(ports: readonly k8s.ContainerPort[], at: string): FieldError[] {
  const errors = ports.flatMap((port, index) => [
    ...(port.name ? isPortName(port.name).map((detail) => invalid(`${at}[${index}].name`, port.name, detail)) : []),
    ...(port.containerPort
      ? isPortNumber(port.containerPort).map((detail) =>
          invalid(`${at}[${index}].containerPort`, port.containerPort, detail),
        )
      : [required(`${at}[${index}].containerPort`)]),
    ...(port.hostPort
      ? isPortNumber(port.hostPort).map((detail) => invalid(`${at}[${index}].hostPort`, port.hostPort, detail))
      : []),
    ...oneOf(`${at}[${index}].protocol`, port.protocol, ["SCTP", "TCP", "UDP"]),
  ]);
  const names = ports.map(({ name }) => name);
  return [...errors, ...validateUnique(names, (index) => `${at}[${index}].name`)];
}

function validateEnv(variable: k8s.EnvVar, at: string): FieldError[] {
  const errors: FieldError[] = [];
  if (!variable.name) errors.push(required(`${at}.name`));
  else errors.push(...isEnvVarName(variable.name).map((detail) => invalid(`${at}.name`, variable.name, detail)));
  const source = variable.valueFrom;
  if (source === undefined) return errors;
  const sources = Object.values(source).filter((item) => item !== undefined).length;
  if (sources === 0)
    errors.push(
      invalid(
        `${at}.valueFrom`,
        "",
        "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
      ),
    );
  else if (variable.value)
    errors.push(invalid(`${at}.valueFrom`, "", "may not be specified when `value` is not empty"));
  else if (sources > 1)
    errors.push(invalid(`${at}.valueFrom`, "", "may not have more than one field specified at a time"));
  if (source.secretKeyRef && !source.secretKeyRef.key) errors.push(required(`${at}.valueFrom.secretKeyRef.key`));
  if (source.configMapKeyRef && !source.configMapKeyRef.key)
    errors.push(required(`${at}.valueFrom.configMapKeyRef.key`));
  return errors;
}

function validateMounts(container: k8s.Container, volumes: ReadonlySet<string>, at: string): FieldError[] {
  const paths = new Set<string>();
  return (container.volumeMounts ?? []).flatMap((mount, index) => {
    const field = `${at}.volumeMounts[${index}]`;
    const errors: FieldError[] = [];
    if (!mount.name) errors.push(required(`${field}.name`));
    else if (!volumes.has(mount.name)) errors.push(notFound(`${field}.name`, mount.name));
    if (!mount.mountPath) errors.push(required(`${field}.mountPath`));
    else if (paths.has(mount.mountPath)) errors.push(invalid(`${field}.mountPath`, mount.mountPath, "must be unique"));
    paths.add(mount.mountPath);
    if (mount.subPath?.split("/").includes(".."))
      errors.push(invalid(`${field}.subPath`, mount.subPath, "must not contain '..'"));
    if (mount.subPath?.startsWith("/"))
      errors.push(invalid(`${field}.subPath`, mount.subPath, "must be a relative path"));
    return errors;
  });
}

function validateProbe(probe: k8s.Probe | undefined, at: string, onlyOneSuccess: boolean): FieldError[] {
  if (probe === undefined) return [];
  const handlers = (["exec", "httpGet", "tcpSocket", "grpc"] as const).filter((name) => probe[name] !== undefined);
  const errors: FieldError[] = [];
  if (handlers.length === 0) errors.push(required(at, "must specify a handler type"));
  for (const extra of handlers.slice(1))
    errors.push(forbidden(`${at}.${extra}`, "may not specify more than 1 handler type"));
  const numbers = [
    "initialDelaySeconds",
    "timeoutSeconds",
    "periodSeconds",
    "successThreshold",
    "failureThreshold",
  ] as const;
  for (const name of numbers) errors.push(...nonNegative(`${at}.${name}`, probe[name]));
  if (onlyOneSuccess && probe.successThreshold !== undefined && probe.successThreshold !== 1)
    errors.push(invalid(`${at}.successThreshold`, probe.successThreshold, "must be 1"));
  if (probe.exec !== undefined && (probe.exec.command ?? []).length === 0) errors.push(required(`${at}.exec.command`));
  return errors;
}

/** Requests may not exceed limits; quantities must parse and not be negative. */
function validateResources(resources: k8s.ResourceRequirements | undefined, at: string): FieldError[] {
  const errors: FieldError[] = [];
  for (const part of ["limits", "requests"] as const) {
    for (const [name, quantity] of Object.entries(resources?.[part] ?? {})) {
      const field = `${at}.${part}[${name}]`;
      if (!name.includes("/") && !standardResource.test(name))
        errors.push(invalid(field, name, "must be a standard resource for containers"));
      errors.push(...isQualifiedName(name).map((detail) => invalid(`${at}.${part}`, name, detail)));
      errors.push(...validateQuantity(field, quantity));
    }
  }
  for (const [name, request] of Object.entries(resources?.requests ?? {})) {
    const limit = resources?.limits?.[name];
    if (limit === undefined || nano(request) === undefined || nano(limit) === undefined) continue;
    if (nano(request)! > nano(limit)!)
      errors.push(invalid(`${at}.requests`, request, `must be less than or equal to ${name} limit of ${limit}`));
  }
  return errors;
}

const standardResource = /^(cpu|memory|ephemeral-storage|hugepages-.+)$/;

function nano(quantity: string): bigint | undefined {
  try {
    return parseQuantityNano(String(quantity));
  } catch {
    return undefined;
  }
}

export function validateQuantity(field: string, quantity: string): FieldError[] {
  const value = nano(quantity);
  if (value === undefined)
    return [
      invalid(
        field,
        quantity,
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
      ),
    ];
  return value < 0n ? [invalid(field, quantity, "must be greater than or equal to 0")] : [];
}

function validateVolumes(volumes: readonly k8s.Volume[], at: string): FieldError[] {
  const errors = volumes.flatMap((volume, index) => {
    const field = `${at}[${index}]`;
    const problems: FieldError[] = [];
    if (!volume.name) problems.push(required(`${field}.name`));
    else problems.push(...isDns1123Label(volume.name).map((detail) => invalid(`${field}.name`, volume.name, detail)));
    const sources = Object.entries(volume).filter(([key, value]) => key !== "name" && value !== undefined);
    if (sources.length === 0) problems.push(required(field, "must specify a volume type"));
    for (const [extra] of sources.slice(1))
      problems.push(forbidden(`${field}.${extra}`, "may not specify more than 1 volume type"));
    if (volume.hostPath && !volume.hostPath.path) problems.push(required(`${field}.hostPath.path`));
    if (volume.secret && !volume.secret.secretName) problems.push(required(`${field}.secret.secretName`));
    if (volume.configMap && !volume.configMap.name) problems.push(required(`${field}.configMap.name`));
    if (volume.persistentVolumeClaim && !volume.persistentVolumeClaim.claimName)
      problems.push(required(`${field}.persistentVolumeClaim.claimName`));
    return problems;
  });
  return [
    ...errors,
    ...validateUnique(
      volumes.map(({ name }) => name),
      (index) => `${at}[${index}].name`,
    ),
  ];
}

function validateToleration(toleration: k8s.Toleration, at: string): FieldError[] {
  const errors: FieldError[] = [];
  if (toleration.key)
    errors.push(...isQualifiedName(toleration.key).map((detail) => invalid(`${at}.key`, toleration.key, detail)));
  else if (toleration.operator !== "Exists")
    errors.push(
      invalid(
        `${at}.operator`,
        toleration.operator ?? "",
        'operator must be Exists when `key` is empty, which means "match all values and all keys"',
      ),
    );
  if (toleration.tolerationSeconds !== undefined && toleration.effect !== "NoExecute")
    errors.push(
      invalid(`${at}.effect`, toleration.effect ?? "", "effect must be 'NoExecute' when `tolerationSeconds` is set"),
    );
  errors.push(...oneOf(`${at}.operator`, toleration.operator || undefined, ["Equal", "Exists"]));
  if (toleration.operator === "Exists" && toleration.value)
    errors.push(invalid(`${at}.operator`, toleration, "value must be empty when `operator` is 'Exists'"));
  errors.push(
    ...oneOf(`${at}.effect`, toleration.effect || undefined, ["NoExecute", "NoSchedule", "PreferNoSchedule"]),
  );
  return errors;
}

function validateSpread(constraint: k8s.TopologySpreadConstraint, at: string): FieldError[] {
  const errors: FieldError[] = [];
  if (!(constraint.maxSkew > 0))
    errors.push(invalid(`${at}.maxSkew`, constraint.maxSkew ?? 0, "must be greater than zero"));
  if (!constraint.topologyKey) errors.push(required(`${at}.topologyKey`, "can not be empty"));
  errors.push(...oneOf(`${at}.whenUnsatisfiable`, constraint.whenUnsatisfiable, ["DoNotSchedule", "ScheduleAnyway"]));
  return errors;
}
