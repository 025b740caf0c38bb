import { resources } from "../../client/index.ts";
import type { Pod } from "../common/index.ts";
import type { ControllerContext } from "../controller.ts";

export function podsOn(context: ControllerContext, nodeName: string): readonly Pod[] {
  return context
    .informer(resources.pods)
    .addIndex("node", (pod) => (pod.spec?.nodeName ? [pod.spec.nodeName] : []))
    .byIndex("node", nodeName);
}
