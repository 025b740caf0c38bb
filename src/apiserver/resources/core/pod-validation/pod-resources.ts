import type { k8s } from "../../../../api/index.ts";
import type { FieldError } from "../../../machinery/kind.ts";
import { nano } from "../../shared/checks.ts";
import { forbidden, invalid, notSupported } from "../../shared/field-errors.ts";
import { validateRequirements } from "./compute.ts";

/** What a Pod may ask for as a whole (https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/#pod-level-resource-specification). */
const supported = (name: string): boolean => name === "cpu" || name === "memory" || name.startsWith("hugepages-");
const names = ["cpu", "hugepages-", "memory"];

/** A Pod's own requests cover those of its containers, and no container may have more than its Pod. */
export function validatePodResources(spec: k8s.PodSpec, at: string): FieldError[] {
  const { resources } = spec;
  if (resources === undefined) return [];
  const here = `${at}.resources`;
  const errors = (["limits", "requests"] as const).flatMap((field) =>
    Object.keys(resources[field] ?? {}).flatMap((name) =>
      supported(name) ? [] : [notSupported(`${here}.${field}[${name}]`, name, names)],
    ),
  );
  if (resources.claims?.length)
    errors.push(forbidden(`${here}.claims`, "claims may not be set for Resources at pod-level"));
  if (errors.length > 0) return errors;
  return [
    ...validateRequirements(resources, here),
    ...coverRequests(spec, `${here}.requests`),
    ...withinLimits(spec, at),
  ];
}

function coverRequests({ resources, containers, initContainers = [] }: k8s.PodSpec, at: string): FieldError[] {
  const errors: FieldError[] = [];
  const sidecars = initContainers.filter(({ restartPolicy }) => restartPolicy === "Always");
  for (const [name, request] of Object.entries(resources?.requests ?? {})) {
    const each = [...containers, ...sidecars].map((container) => nano(container.resources?.requests?.[name]) ?? 0n);
    const sum = each.reduce((total, amount) => total + amount, 0n);
    if (sum <= (nano(request) ?? 0n)) continue;
    const shown = Number(sum) / 1e9;
    const text = name === "cpu" ? `${Math.round(shown * 1000)}m` : String(shown);
    errors.push(
      invalid(`${at}[${name}]`, request, `must be greater than or equal to aggregate container requests of ${text}`),
    );
  }
  return errors;
}

function withinLimits({ resources, containers, initContainers = [] }: k8s.PodSpec, at: string): FieldError[] {
  const all = [
    ...containers.map((container, index) => ({ container, here: `${at}.containers[${index}]` })),
    ...initContainers.map((container, index) => ({ container, here: `${at}.initContainers[${index}]` })),
  ];
  return Object.entries(resources?.limits ?? {}).flatMap(([name, most]) =>
    all.flatMap(({ container, here }) => {
      const limit = container.resources?.limits?.[name];
      if (limit === undefined || (nano(limit) ?? 0n) <= (nano(most) ?? 0n)) return [];
      return [
        invalid(`${here}.resources.limits[${name}]`, limit, `must be less than or equal to pod limits of ${most}`),
      ];
    }),
  );
}
