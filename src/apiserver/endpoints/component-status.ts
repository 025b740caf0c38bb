import type { k8s, KubeObject } from "../../api/index.ts";
import { messageOf } from "../../base/index.ts";
import type { Store } from "../../storage/index.ts";
import type { Endpoint } from "../machinery/pipeline.ts";
import { notFoundError } from "../machinery/status.ts";

const names = ["controller-manager", "etcd-0", "scheduler"];

/** The old `kubectl get componentstatuses`: the parts of one program are well when it answers, and its store when that answers. */
export function componentStatusEndpoint(store: Store): Endpoint {
  return {
    group: "",
    version: "v1",
    resource: "componentstatuses",
    subresource: "",
    namespaced: false,
    kind: { group: "", version: "v1", kind: "ComponentStatus" },
    verbs: ["get", "list"],
    shortNames: ["cs"],
    columns: [
      { name: "Name", type: "string", format: "name", cell: ({ metadata }) => metadata.name },
      {
        name: "Status",
        type: "string",
        cell: (object) => (conditionOf(object).status === "True" ? "Healthy" : "Unhealthy"),
      },
      { name: "Message", type: "string", cell: (object) => conditionOf(object).message ?? "" },
      { name: "Error", type: "string", cell: (object) => conditionOf(object).error ?? "" },
    ],
    async handle(call) {
      call.warn("v1 ComponentStatus is deprecated in v1.19+");
      const problem = await store.revision().then(
        () => undefined,
        (error: unknown) => messageOf(error),
      );
      const items = names.map((name) => status(name, name === "etcd-0" ? problem : undefined));
      if (call.info.name === "") return { kind: "ComponentStatusList", apiVersion: "v1", metadata: {}, items };
      const found = items.find(({ metadata }) => metadata.name === call.info.name);
      if (found === undefined) throw notFoundError({ group: "", plural: "componentstatuses" }, call.info.name);
      return found;
    },
  };
}

const status = (name: string, problem: string | undefined): KubeObject => ({
  apiVersion: "v1",
  kind: "ComponentStatus",
  metadata: { name },
  conditions: [
    problem === undefined
      ? { type: "Healthy", status: "True", message: "ok" }
      : { type: "Healthy", status: "False", message: problem },
  ],
});

const conditionOf = (object: KubeObject) => (object as k8s.ComponentStatus).conditions![0]!;
