import { messageOf, rfc3339 } from "../../../base/index.ts";
import { createEventRecorder, resources, type InformerFactory, type KubeClient } from "../../../client/index.ts";
import type { LocalhostClash } from "../../../node/index.ts";
import type { DaemonContext } from "../../context.ts";

const CONDITION = "berth.dev/ReachableOnLocalhost";

/** Says on a LoadBalancer Service, by an event and a condition, that localhost does not lead to it on some port, and when it does again. */
export function localhostClashReporter(
  context: DaemonContext,
  client: KubeClient,
  informers: InformerFactory,
): (service: string, clashes: readonly LocalhostClash[]) => void {
  const services = informers.for(resources.services);
  const recorder = createEventRecorder({ ...context, client, component: "berth-service-proxy" });
  return (key, clashes) => {
    const service = services.get(key);
    if (!service) return;
    const message = clashes.map(sentence).join("; ");
    const address = service.status?.loadBalancer?.ingress?.[0]?.ip ?? "its own address";
    if (clashes.length > 0)
      recorder.event(service, "Warning", "LocalhostPortInUse", `${message}. The Service answers on ${address}`);
    else recorder.event(service, "Normal", "ReachableOnLocalhost", "The Service answers on localhost too");
    const condition = {
      type: CONDITION,
      status: clashes.length > 0 ? "False" : "True",
      reason: clashes.length > 0 ? "PortInUse" : "PortsFree",
      message,
      lastTransitionTime: rfc3339(context.clock.nowMs()),
    };
    client
      .of(resources.services)
      .patch(service.metadata, { status: { conditions: [condition] } }, { subresource: "status", kind: "strategic" })
      .catch((error: unknown) => context.log.debug("a Service's condition was not written", { why: messageOf(error) }));
  };
}

function sentence({ protocol, port, heldBy }: LocalhostClash): string {
  const holder = heldBy ? `Service ${heldBy}` : "another program on this machine";
  return `localhost:${port} (${protocol.toUpperCase()}) belongs to ${holder}`;
}
