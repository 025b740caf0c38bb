import type { k8s } from "../../../api/index.ts";
import { hasCode, messageOf, rfc3339, type InstanceContext } from "../../../base/index.ts";
import { keyOf, type AnyObject, type KubeClient, type Resource, type Stored } from "../../../client/index.ts";
import type { Assigned } from "./addresses.ts";
import { GRPC_ROUTE } from "./grpc.ts";
import { conditions, type GatewayPlan, type Said } from "./plan.ts";
import {
  gatewayClasses,
  gateways,
  GROUP,
  grpcRoutes,
  httpRoutes,
  type Gateway,
  type GatewayClass,
  type HttpRoute,
} from "./types.ts";

const accepted: Said = { type: "Accepted", status: "True", reason: "Accepted", message: "" };

/** Says in the resources' status what is served of them. Writes only what has changed. */
export class GatewayStatus {
  readonly #ctx: InstanceContext;
  readonly #client: KubeClient;
  readonly #controller: string;

  constructor(ctx: InstanceContext, client: KubeClient, controller: string) {
    this.#ctx = ctx;
    this.#client = client;
    this.#controller = controller;
  }

  async write(
    classes: readonly Stored<GatewayClass>[],
    ours: readonly Stored<Gateway>[],
    plan: GatewayPlan,
    assigned: Assigned,
    problems: ReadonlyMap<string, string>,
  ): Promise<void> {
    for (const one of classes) {
      const next = this.#conditions([accepted], one.status?.conditions, one);
      await this.#put(gatewayClasses, one, { conditions: next });
    }
    for (const one of ours) await this.#put(gateways, one, this.#gateway(one, plan, assigned, problems));
    for (const route of new Set(plan.parents.map((parent) => parent.route as Stored<HttpRoute>))) {
      const resource = route.kind === GRPC_ROUTE ? (grpcRoutes as typeof httpRoutes) : httpRoutes;
      await this.#put(resource, route, this.#route(route, plan));
    }
  }

  #gateway(
    gateway: Stored<Gateway>,
    plan: GatewayPlan,
    assigned: Assigned,
    problems: ReadonlyMap<string, string>,
  ): object {
    const key = keyOf(gateway);
    const old = gateway.status as {
      conditions?: k8s.Condition[];
      listeners?: { name: string; conditions: k8s.Condition[] }[];
    };
    const address = assigned.addresses.get(key);
    const refused = assigned.problems.get(key);
    const listeners = (plan.listeners.get(key) ?? []).map(
      ({ name, port, attachedRoutes, supportedKinds, conditions: said }) => {
        const problem = problems.get(`${key} ${port}`);
        const all = said.map((one): Said =>
          problem && one.type === "Programmed"
            ? { type: "Programmed", status: "False", reason: "PortUnavailable", message: problem }
            : one,
        );
        const before = old?.listeners?.find((one) => one.name === name)?.conditions;
        return {
          name,
          attachedRoutes,
          supportedKinds: supportedKinds.map((kind) => ({ group: GROUP, kind })),
          conditions: this.#conditions(all, before, gateway),
        };
      },
    );
    const broken = listeners.some((one) =>
      one.conditions.some(({ type, status }) => type === "Programmed" && status !== "True"),
    );
    const own: Said[] = [
      broken
        ? { type: "Accepted", status: "True", reason: "ListenersNotValid", message: "see the listeners" }
        : accepted,
      address
        ? { type: "Programmed", status: "True", reason: "Programmed", message: "" }
        : { type: "Programmed", status: "False", reason: "Invalid", message: "the Gateway has no address" },
    ].map((one): Said => (one.type === refused?.type ? refused : (one as Said)));
    return {
      addresses: address ? [{ type: "IPAddress", value: address }] : [],
      conditions: this.#conditions(own, old?.conditions, gateway),
      listeners,
    };
  }

  /** Other controllers' parents stay as they are. */
  #route(route: Stored<HttpRoute>, plan: GatewayPlan): object {
    const before = route.status?.parents ?? [];
    const own = plan.parents
      .filter((parent) => parent.route === route)
      .map(({ parentRef, conditions: said }) => {
        const old = before.find(
          (one) =>
            one.controllerName === this.#controller && JSON.stringify(one.parentRef) === JSON.stringify(parentRef),
        );
        return {
          parentRef,
          controllerName: this.#controller,
          conditions: this.#conditions(said, old?.conditions, route),
        };
      });
    return { parents: [...before.filter(({ controllerName }) => controllerName !== this.#controller), ...own] };
  }

  #conditions(
    said: readonly Said[],
    before: readonly k8s.Condition[] | undefined,
    { metadata }: { readonly metadata: { readonly generation?: number } },
  ): k8s.Condition[] {
    return conditions(said, before, metadata.generation ?? 1, rfc3339(this.#ctx.clock.nowMs()));
  }

  async #put<T extends AnyObject & { readonly status?: object }>(
    resource: Resource<T>,
    object: Stored<T>,
    status: object,
  ): Promise<void> {
    if (canonical(object.status) === canonical(status)) return;
    try {
      await this.#client.of(resource).patch(object.metadata, { status }, { subresource: "status", kind: "merge" });
    } catch (error) {
      if (!hasCode(error, "notFound"))
        this.#ctx.log.warn("a status was not written", { object: object.metadata.name, why: messageOf(error) });
    }
  }
}

/** As text, whatever the order of the fields. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_, part: unknown) =>
    part && typeof part === "object" && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).toSorted(([one], [other]) => (one < other ? -1 : 1)))
      : part,
  );
}
