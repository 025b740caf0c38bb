import { failedPrecondition } from "../../../base/index.ts";
import type { ConfigMap, Container, Pod, Secret, Service } from "../pod/imports.ts";
import { expand } from "./expand.ts";
import { fieldValue, resourceValue, type PodFacts } from "./fields.ts";

/** Where env looks things up. Undefined means: there is no such object. */
export interface EnvSources {
  configMap(namespace: string, name: string): Promise<ConfigMap | undefined>;
  secret(namespace: string, name: string): Promise<Secret | undefined>;
  /** Services of the Pod's namespace, and the one called `kubernetes` in `default`. */
  services(namespace: string): readonly Service[];
}

export type EnvVars = ReadonlyMap<string, string>;

/**
 * A container's environment: service links first, then envFrom, then env, later ones winning, each `$(NAME)` seeing what was defined
 * before it. Throws failedPrecondition in the words of upstream's CreateContainerConfigError.
 */
export async function makeEnvironment(
  pod: Pod,
  container: Container,
  facts: PodFacts,
  sources: EnvSources,
): Promise<EnvVars> {
  const namespace = pod.metadata.namespace!;
  const links = serviceLinks(sources.services(namespace), namespace, pod.spec?.enableServiceLinks ?? true);
  const result = new Map<string, string>();

  for (const from of container.envFrom ?? []) {
    const values = from.configMapRef
      ? (
          await required(
            from.configMapRef.optional,
            () => sources.configMap(namespace, from.configMapRef!.name!),
            `configmap "${from.configMapRef.name}" not found`,
          )
        )?.data
      : decodeAll(
          (
            await required(
              from.secretRef!.optional,
              () => sources.secret(namespace, from.secretRef!.name!),
              `secret "${from.secretRef!.name}" not found`,
            )
          )?.data,
        );
    for (const [key, value] of Object.entries(values ?? {})) result.set((from.prefix ?? "") + key, value);
  }

  for (const variable of container.env ?? []) {
    const value = variable.valueFrom
      ? await valueFrom(pod, container, variable.valueFrom, facts, sources)
      : expand(variable.value ?? "", (name) => result.get(name) ?? links.get(name));
    if (value !== undefined) result.set(variable.name, value);
  }
  for (const [name, value] of links) if (!result.has(name)) result.set(name, value);
  return result;
}

type ValueFrom = NonNullable<NonNullable<Container["env"]>[number]["valueFrom"]>;

async function valueFrom(
  pod: Pod,
  container: Container,
  from: ValueFrom,
  facts: PodFacts,
  sources: EnvSources,
): Promise<string | undefined> {
  const namespace = pod.metadata.namespace!;
  if (from.fieldRef) return fieldValue(pod, from.fieldRef, facts);
  if (from.resourceFieldRef) return resourceValue(pod, container, from.resourceFieldRef, facts);
  if (from.configMapKeyRef) {
    const { name, key, optional } = from.configMapKeyRef;
    const map = await required(optional, () => sources.configMap(namespace, name!), `configmap "${name}" not found`);
    return pick(map?.data?.[key], optional, `couldn't find key ${key} in ConfigMap ${namespace}/${name}`);
  }
  if (from.secretKeyRef) {
    const { name, key, optional } = from.secretKeyRef;
    const secret = await required(optional, () => sources.secret(namespace, name!), `secret "${name}" not found`);
    return pick(decodeAll(secret?.data)?.[key], optional, `couldn't find key ${key} in Secret ${namespace}/${name}`);
  }
  return undefined;
}

async function required<T>(
  optional: boolean | undefined,
  find: () => Promise<T | undefined>,
  message: string,
): Promise<T | undefined> {
  const found = await find();
  if (found === undefined && !optional) throw failedPrecondition(message);
  return found;
}

function pick(value: string | undefined, optional: boolean | undefined, message: string): string | undefined {
  if (value === undefined && !optional) throw failedPrecondition(message);
  return value;
}

function decodeAll(data: Readonly<Record<string, string>> | undefined): Record<string, string> | undefined {
  return (
    data &&
    Object.fromEntries(Object.entries(data).map(([key, value]) => [key, Buffer.from(value, "base64").toString()]))
  );
}

/** Docker-links style variables. https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables */
function serviceLinks(services: readonly Service[], namespace: string, enabled: boolean): EnvVars {
  const result = new Map<string, string>();
  for (const service of services) {
    const isApi = service.metadata.namespace === "default" && service.metadata.name === "kubernetes";
    if (!isApi && (!enabled || service.metadata.namespace !== namespace)) continue;
    const ip = service.spec?.clusterIP;
    const ports = service.spec?.ports ?? [];
    if (!ip || ip === "None" || ports.length === 0) continue;
    const name = envName(service.metadata.name!);
    result.set(`${name}_SERVICE_HOST`, ip);
    result.set(`${name}_SERVICE_PORT`, String(ports[0]!.port));
    for (const port of ports)
      if (port.name) result.set(`${name}_SERVICE_PORT_${envName(port.name)}`, String(port.port));
    const host = ip.includes(":") ? `[${ip}]` : ip;
    ports.forEach((port, index) => {
      const protocol = (port.protocol ?? "TCP").toLowerCase();
      const prefix = `${name}_PORT_${port.port}_${protocol.toUpperCase()}`;
      const url = `${protocol}://${host}:${port.port}`;
      if (index === 0) result.set(`${name}_PORT`, url);
      result.set(prefix, url);
      result.set(`${prefix}_PROTO`, protocol);
      result.set(`${prefix}_PORT`, String(port.port));
      result.set(`${prefix}_ADDR`, ip);
    });
  }
  return result;
}

function envName(name: string): string {
  return name.toUpperCase().replaceAll("-", "_");
}
