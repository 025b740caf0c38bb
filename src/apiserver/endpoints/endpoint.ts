import type { KubeObject } from "../../api/index.ts";
import type { Endpoint } from "../machinery/pipeline.ts";

export type Facts = Pick<Endpoint, "group" | "resource" | "subresource" | "namespaced"> & {
  /** `group/version/Kind`, `v1/Kind` for core. */
  readonly kind: string;
};

/** An endpoint that takes one kind of object by POST and answers with it, filled in. */
export function answering(facts: Facts, handle: Endpoint["handle"]): Endpoint {
  const [kind = "", version = "", group = ""] = facts.kind.split("/").toReversed();
  return { ...facts, version: "v1", kind: { group, version, kind }, verbs: ["create"], handle };
}

export const withStatus = (object: KubeObject, status: object): KubeObject => ({
  ...object,
  metadata: { ...object.metadata, creationTimestamp: object.metadata?.creationTimestamp },
  status,
});
