import type { KubeObject } from "../../../api/index.ts";
import type { StrategyContext } from "../../machinery/kind.ts";

/** A new object has no status but what its controller will write. */
export function clearStatus(object: KubeObject): void {
  object["status"] = {};
}

/** Status belongs to its subresource, all else to the object itself: each request changes only its half. Metadata may come with either. */
export function keepOtherHalf(object: KubeObject, old: KubeObject, context: StrategyContext): void {
  if (context.subresource === "status") {
    for (const field of Object.keys(object)) if (!keptApart.has(field)) delete object[field];
    for (const field of Object.keys(old)) if (!keptApart.has(field)) object[field] = old[field];
  } else if (context.subresource !== "") {
    // Any other subresource's strategy says itself what it changes.
  } else if (old["status"] === undefined) {
    delete object["status"];
  } else {
    object["status"] = old["status"];
  }
}

const keptApart = new Set(["apiVersion", "kind", "metadata", "status"]);
