import { resources, type AnyObject } from "../../client/index.ts";
import { findResource } from "../kubernetes/discovery.ts";
import { fetchTable, renderTable } from "../kubernetes/table.ts";
import { resourcePath } from "../../client/index.ts";
import { print } from "../output/terminal.ts";
import { parseTargets, refIn, toYaml, withCluster, type ScopeFlags } from "./cluster.ts";

/** Everything about objects: what they are, as YAML without the bookkeeping, and what happened to them. */
export async function describe(type: string, names: string[], flags: ScopeFlags): Promise<void> {
  await withCluster(async (session) => {
    for (const target of parseTargets(type, names)) {
      const resource = findResource(session.types, target.type);
      const client = session.client.of(resource);
      const namespace = flags.namespace ?? session.namespace;
      const objects =
        target.name === undefined
          ? (await client.list({ namespace })).items
          : [await client.get(refIn(session, resource, target.name, flags))];
      for (const object of objects) {
        print(await toYaml(withoutBookkeeping({ kind: resource.kind, ...object })));
        const events = await fetchTable(
          session.client,
          resourcePath(resources.coreEvents, object.metadata.namespace ?? "default"),
          { fieldSelector: `involvedObject.uid=${object.metadata.uid}` },
        );
        print((events.rows?.length ?? 0) > 0 ? `events:\n${renderTable(events).replace(/^/gm, "  ")}` : "events: none");
        print();
      }
    }
  });
}

function withoutBookkeeping(object: AnyObject): AnyObject {
  const { managedFields: _fields, ...metadata } = object.metadata ?? {};
  const { "kubectl.kubernetes.io/last-applied-configuration": _applied, ...annotations } = metadata.annotations ?? {};
  return { ...object, metadata: { ...metadata, ...(metadata.annotations ? { annotations } : {}) } };
}
