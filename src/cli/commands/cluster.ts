import { deadlineExceeded, hasCode, invalidArgument, systemClock } from "../../base/index.ts";
import { resourcePath, type AnyObject, type KubeClient, type ObjectRef, type Resource } from "../../client/index.ts";
import { wait } from "../daemon-process.ts";
import { currentInstance } from "../instance.ts";
import { connect, type Connection } from "../kubernetes/connection.ts";
import { discover, findResource, findResources, nameOf, resourceOfKind, type Found } from "../kubernetes/discovery.ts";
import { readManifests } from "../kubernetes/manifests.ts";
import { fetchTable, renderTable } from "../kubernetes/table.ts";
import { print } from "../output/terminal.ts";

export interface ScopeFlags {
  readonly namespace?: string;
  readonly allNamespaces?: boolean;
}
export interface GetFlags extends ScopeFlags {
  readonly selector?: string;
  readonly fieldSelector?: string;
  readonly output?: string;
  readonly json?: boolean;
  readonly showLabels?: boolean;
}

/** The cluster that a command speaks to, and what it has. */
export interface Session extends Connection {
  readonly types: readonly Found[];
}

const DELETE_TIMEOUT_MS = 120_000;

export async function withCluster<T>(task: (session: Session) => Promise<T>): Promise<T> {
  const connection = await connect(currentInstance().kubeconfig);
  try {
    return await task({ ...connection, types: await discover(connection.client) });
  } finally {
    connection.close();
  }
}

/** `TYPE NAME…`, `TYPE/NAME…`, or `TYPE` alone. */
export function parseTargets(type: string, names: readonly string[]): { type: string; name: string | undefined }[] {
  const slashed = [type, ...names].filter((word) => word.includes("/"));
  if (slashed.length > 0) {
    if (slashed.length !== names.length + 1)
      throw invalidArgument("TYPE/NAME and TYPE NAME can't be mixed", { hint: "for example: pod/a pod/b, or pod a b" });
    return slashed.map((word) => ({ type: word.split("/")[0]!, name: word.split("/")[1]! }));
  }
  return names.length === 0 ? [{ type, name: undefined }] : names.map((name) => ({ type, name }));
}

export function refIn(session: Session, resource: Resource, name: string, flags: ScopeFlags): ObjectRef {
  return resource.namespaced ? { name, namespace: flags.namespace ?? session.namespace } : { name };
}

export async function get(type: string, names: string[], flags: GetFlags): Promise<void> {
  await withCluster(async (session) => {
    const output = flags.json ? "json" : (flags.output ?? "");
    if (!["", "wide", "json", "yaml", "name"].includes(output))
      throw invalidArgument(`there is no output "${output}"`, { hint: "wide, json, yaml or name" });
    const targets = parseTargets(type, names).flatMap((target) =>
      findResources(session.types, target.type).map((resource) => ({ resource, name: target.name })),
    );
    if (output === "" || output === "wide") return printTables(session, targets, flags, output === "wide");
    const objects = (
      await Promise.all(targets.map(({ resource, name }) => read(session, resource, name, flags)))
    ).flat();
    if (output === "name")
      return objects.forEach(({ resource, object }) => print(nameOf(resource, object.metadata!.name!)));
    const plain = objects.map(({ object }) => object);
    const single = plain.length === 1 && targets[0]!.name !== undefined;
    const whole = single ? plain[0]! : { apiVersion: "v1", kind: "List", metadata: {}, items: plain };
    print(output === "json" ? JSON.stringify(whole, null, 2) : await toYaml(whole));
  });
}

type Target = { resource: Resource; name: string | undefined };

async function printTables(session: Session, targets: Target[], flags: GetFlags, wide: boolean): Promise<void> {
  const grouped = Map.groupBy(targets, ({ resource }) => resource);
  const texts: string[] = [];
  for (const [resource, group] of grouped) {
    const withNamespace = flags.allNamespaces === true && resource.namespaced;
    const prefix = grouped.size > 1 ? nameOf(resource, "") : "";
    const tables = await Promise.all(
      group.map(({ name }) =>
        fetchTable(
          session.client,
          resourcePath(resource, flags.allNamespaces ? undefined : (flags.namespace ?? session.namespace), name),
          selectors(flags),
        ),
      ),
    );
    const rows = tables.flatMap((table) => table.rows ?? []);
    if (rows.length === 0) continue;
    texts.push(renderTable({ ...tables[0]!, rows }, { wide, withNamespace, prefix, showLabels: flags.showLabels }));
  }
  if (texts.length > 0) return print(texts.join("\n\n"));
  const where = flags.allNamespaces ? "" : ` in ${flags.namespace ?? session.namespace} namespace`;
  process.stderr.write(`No resources found${where}\n`);
}

function selectors(flags: GetFlags): Record<string, string> {
  return {
    ...(flags.selector ? { labelSelector: flags.selector } : {}),
    ...(flags.fieldSelector ? { fieldSelector: flags.fieldSelector } : {}),
  };
}

async function read(session: Session, resource: Resource, name: string | undefined, flags: GetFlags) {
  const client = session.client.of(resource);
  if (name !== undefined) return [{ resource, object: await client.get(refIn(session, resource, name, flags)) }];
  const namespace = flags.allNamespaces ? undefined : (flags.namespace ?? session.namespace);
  const { items } = await client.list({
    namespace,
    labelSelector: flags.selector,
    fieldSelector: flags.fieldSelector,
  });
  const apiVersion = resource.group === "" ? resource.version : `${resource.group}/${resource.version}`;
  return items.map((item) => ({ resource, object: { apiVersion, kind: resource.kind, ...item } as AnyObject }));
}

export async function toYaml(value: unknown): Promise<string> {
  const { dump } = await import("js-yaml");
  return dump(value, { lineWidth: -1, noRefs: true }).trimEnd();
}

/** Server-side apply, said as kubectl says it. */
export async function apply(
  flags: ScopeFlags & { filename?: string[]; dryRun?: boolean; force?: boolean },
): Promise<void> {
  const objects = await readManifests(flags.filename ?? []);
  await withCluster(async (session) => {
    for (const object of objects) {
      const resource = resourceOfKind(session.types, object);
      const ref = refIn(session, resource, object.metadata!.name!, {
        namespace: flags.namespace ?? object.metadata!.namespace,
      });
      const before = await versionOf(session.client, resource, ref);
      const after = await session.client.of(resource).patch(ref, object, {
        kind: "apply",
        fieldManager: "berth",
        force: flags.force === true,
        dryRun: flags.dryRun === true,
      });
      const outcome =
        before === undefined ? "created" : before === after.metadata.resourceVersion ? "unchanged" : "configured";
      print(`${nameOf(resource, ref.name)} ${outcome}${flags.dryRun ? " (server dry run)" : ""}`);
    }
  });
}

async function versionOf(client: KubeClient, resource: Resource, ref: ObjectRef): Promise<string | undefined> {
  try {
    return (await client.of(resource).get(ref)).metadata.resourceVersion;
  } catch (error) {
    if (hasCode(error, "notFound")) return undefined;
    throw error;
  }
}

export interface DeleteFlags extends ScopeFlags {
  readonly filename?: string[];
  readonly gracePeriod?: string;
  readonly now?: boolean;
  readonly wait: boolean;
}

export async function remove(type: string | undefined, names: string[], flags: DeleteFlags): Promise<void> {
  const objects = flags.filename ? await readManifests(flags.filename) : [];
  if (objects.length === 0 && (type === undefined || parseTargets(type, names)[0]!.name === undefined))
    throw invalidArgument("delete what?", { hint: "berth delete TYPE NAME, or berth delete -f FILE" });
  const gracePeriodSeconds = flags.now ? 1 : flags.gracePeriod === undefined ? undefined : Number(flags.gracePeriod);
  await withCluster(async (session) => {
    const wanted =
      objects.length > 0
        ? objects.map((object) => {
            const resource = resourceOfKind(session.types, object);
            const namespace = flags.namespace ?? object.metadata!.namespace;
            return { resource, ref: refIn(session, resource, object.metadata!.name!, { namespace }) };
          })
        : parseTargets(type!, names).map((target) => {
            const resource = findResource(session.types, target.type);
            return { resource, ref: refIn(session, resource, target.name!, flags) };
          });
    for (const { resource, ref } of wanted) {
      await session.client.of(resource).delete(ref, { gracePeriodSeconds, propagationPolicy: "Background" });
      print(`${nameOf(resource, ref.name)} deleted`);
    }
    if (flags.wait) for (const { resource, ref } of wanted) await gone(session.client, resource, ref);
  });
}

async function gone(client: KubeClient, resource: Resource, ref: ObjectRef): Promise<void> {
  const deadlineMs = systemClock.monotonicMs() + DELETE_TIMEOUT_MS;
  while ((await versionOf(client, resource, ref)) !== undefined) {
    if (systemClock.monotonicMs() > deadlineMs)
      throw deadlineExceeded(`${nameOf(resource, ref.name)} is still there after ${DELETE_TIMEOUT_MS / 1000} s`);
    await wait(50);
  }
}

export async function scale(type: string, names: string[], flags: ScopeFlags & { replicas: string }): Promise<void> {
  if (!/^\d+$/.test(flags.replicas)) throw invalidArgument(`invalid number of replicas "${flags.replicas}"`);
  await withCluster(async (session) => {
    for (const target of parseTargets(type, names)) {
      if (target.name === undefined)
        throw invalidArgument("scale what?", { hint: "berth scale TYPE NAME --replicas N" });
      const resource = findResource(session.types, target.type);
      const patch = { spec: { replicas: Number(flags.replicas) } };
      await session.client
        .of(resource)
        .patch(refIn(session, resource, target.name, flags), patch, { subresource: "scale", fieldManager: "berth" });
      print(`${nameOf(resource, target.name)} scaled`);
    }
  });
}
