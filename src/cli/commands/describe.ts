import type { k8s } from "../../api/index.ts";
import { apiVersionOf, resourcePath, resources } from "../../client/index.ts";
import { describeAny } from "../kubernetes/describe/generic.ts";
import { describePod } from "../kubernetes/describe/pod.ts";
import { findResource } from "../kubernetes/discovery.ts";
import { fetchTable, renderTable } from "../kubernetes/table.ts";
import { print } from "../output/terminal.ts";
import { parseTargets, refIn, withCluster, type ScopeFlags } from "./cluster.ts";

/** Everything about objects: what they are, in kubectl's form, and what happened to them. */
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
        const whole = { apiVersion: apiVersionOf(resource), kind: resource.kind, ...object };
        const isPod = resource.group === "" && resource.plural === "pods";
        print((isPod ? describePod(whole as k8s.Pod) : describeAny(whole)).toString());
        const events = await fetchTable(
          session.client,
          resourcePath(resources.coreEvents, object.metadata.namespace ?? "default"),
          { fieldSelector: `involvedObject.uid=${object.metadata.uid}` },
        );
        print(
          (events.rows?.length ?? 0) > 0 ? `Events:\n${renderTable(events).replace(/^/gm, "  ")}` : "Events:  <none>",
        );
        print();
      }
    }
  });
}
