import type { k8s } from "../../../api/index.ts";
import { parseQuantityNano } from "../../../base/index.ts";

/** https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/ */
export function qosClassOf(spec: k8s.PodSpec | undefined): "Guaranteed" | "Burstable" | "BestEffort" {
  // What is asked for the Pod as a whole counts instead of what its containers say.
  const whole = Object.keys({ ...spec?.resources?.requests, ...spec?.resources?.limits }).length > 0;
  const containers = whole ? [spec!] : [...(spec?.containers ?? []), ...(spec?.initContainers ?? [])];
  const counted = containers.flatMap(({ resources }) => [
    ...Object.entries(resources?.requests ?? {}),
    ...Object.entries(resources?.limits ?? {}),
  ]);
  if (!counted.some(([name, value]) => isCompute(name) && !isZero(value))) return "BestEffort";
  return containers.every(isGuaranteed) ? "Guaranteed" : "Burstable";
}

const isCompute = (name: string): boolean => name === "cpu" || name === "memory";
const nano = (value: string): bigint | undefined => {
  try {
    return parseQuantityNano(String(value));
  } catch {
    return undefined; // Validation refuses it right after.
  }
};
const isZero = (value: string): boolean => nano(value) === 0n;

function isGuaranteed({ resources }: Pick<k8s.Container, "resources">): boolean {
  return ["cpu", "memory"].every((name) => {
    const limit = resources?.limits?.[name];
    if (limit === undefined || isZero(limit)) return false;
    const request = resources?.requests?.[name];
    return request === undefined || nano(request) === nano(limit);
  });
}
