import type { k8s } from "../../api/index.ts";
import { parseQuantityNano } from "../../base/index.ts";
import type { ClusterState } from "../cluster-state.ts";
import type { Admission, AdmissionRequest } from "../machinery/pipeline.ts";
import { isPodCreate, isResource, refuse } from "./plugin.ts";

type Quantities = Readonly<Record<string, string>>;
type Item = k8s.LimitRangeItem;

/** Defaults and bounds of a namespace (https://kubernetes.io/docs/concepts/policy/limit-range/). */
export function limitRanger(state: ClusterState): Admission {
  const itemsFor = async (namespace: string, type: string): Promise<Item[]> => {
    const ranges = (state.limitRanges.now ?? (await state.limitRanges.ready())).inNamespace(namespace);
    return ranges.flatMap(({ spec }) => spec?.limits ?? []).filter((item) => item.type === type);
  };
  return {
    async mutate(request) {
      if (!isPodCreate(request)) return;
      const spec = (request.object as k8s.Pod).spec!;
      for (const item of await itemsFor(request.namespace, "Container"))
        for (const container of [...spec.containers, ...(spec.initContainers ?? [])]) fill(container, item);
    },
    async validate(request) {
      if (isPodCreate(request)) {
        const spec = (request.object as k8s.Pod).spec!;
        const containers = [...spec.containers, ...(spec.initContainers ?? [])];
        const problems = (await itemsFor(request.namespace, "Container")).flatMap((item) =>
          containers.flatMap(({ resources }) => check(item, resources?.requests ?? {}, resources?.limits ?? {})),
        );
        const total = { requests: sum(spec.containers, "requests"), limits: sum(spec.containers, "limits") };
        for (const item of await itemsFor(request.namespace, "Pod"))
          problems.push(...check(item, total.requests, total.limits));
        report(request, problems);
      } else if (request.operation === "CREATE" && isResource(request, "", "persistentvolumeclaims")) {
        const wanted = (request.object as k8s.PersistentVolumeClaim).spec?.resources?.requests ?? {};
        const items = await itemsFor(request.namespace, "PersistentVolumeClaim");
        report(
          request,
          items.flatMap((item) => check(item, wanted, {})),
        );
      }
    },
  };
}

function report(request: AdmissionRequest, problems: readonly string[]): void {
  if (problems.length === 1) throw refuse(request, problems[0]!);
  if (problems.length > 1) throw refuse(request, `[${problems.join(", ")}]`);
}

/** What a container leaves open; requests of its own default from its limits have been made before. */
function fill(container: k8s.Container, item: Item): void {
  const resources = (container.resources ??= {});
  for (const [name, value] of Object.entries(item.default ?? {})) (resources.limits ??= {})[name] ??= value;
  for (const [name, value] of Object.entries(item.defaultRequest ?? {})) (resources.requests ??= {})[name] ??= value;
}

const nano = (value: string): bigint => parseQuantityNano(String(value));

function check({ type, min, max, maxLimitRequestRatio }: Item, requests: Quantities, limits: Quantities): string[] {
  const problems: string[] = [];
  for (const [name, bound] of Object.entries(min ?? {})) {
    const [request, limit] = [requests[name], limits[name]];
    if (request === undefined) problems.push(`minimum ${name} usage per ${type} is ${bound}.  No request is specified`);
    else if (nano(request) < nano(bound))
      problems.push(`minimum ${name} usage per ${type} is ${bound}, but request is ${request}`);
    else if (limit !== undefined && nano(limit) < nano(bound))
      problems.push(`minimum ${name} usage per ${type} is ${bound}, but limit is ${limit}`);
  }
  for (const [name, bound] of Object.entries(max ?? {})) {
    const [request, limit] = [requests[name], limits[name]];
    if (type === "PersistentVolumeClaim") {
      if (request !== undefined && nano(request) > nano(bound))
        problems.push(`maximum ${name} usage per ${type} is ${bound}, but request is ${request}`);
    } else if (limit === undefined)
      problems.push(`maximum ${name} usage per ${type} is ${bound}.  No limit is specified`);
    else if (nano(limit) > nano(bound))
      problems.push(`maximum ${name} usage per ${type} is ${bound}, but limit is ${limit}`);
    else if (request !== undefined && nano(request) > nano(bound))
      problems.push(`maximum ${name} usage per ${type} is ${bound}, but request is ${request}`);
  }
  for (const [name, ratio] of Object.entries(maxLimitRequestRatio ?? {})) {
    const [request, limit] = [requests[name], limits[name]];
    if (request === undefined || limit === undefined || nano(request) === 0n) continue;
    const actual = Number(nano(limit)) / Number(nano(request));
    if (actual > Number(nano(ratio)) / 1e9)
      problems.push(
        `${name} max limit to request ratio per ${type} is ${ratio}, but provided ratio is ${actual.toFixed(6)}`,
      );
  }
  return problems;
}

/** In billionths, as a quantity that parses back. */
function sum(containers: readonly k8s.Container[], part: "requests" | "limits"): Record<string, string> {
  const total: Record<string, bigint> = {};
  for (const { resources } of containers)
    for (const [name, value] of Object.entries(resources?.[part] ?? {}))
      total[name] = (total[name] ?? 0n) + nano(value);
  return Object.fromEntries(Object.entries(total).map(([name, value]) => [name, `${value}n`]));
}
