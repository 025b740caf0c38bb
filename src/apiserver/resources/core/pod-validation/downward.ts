import type { k8s } from "../../../../api/index.ts";
import type { FieldError } from "../../../machinery/kind.ts";
import { named } from "../../shared/checks.ts";
import { invalid, notSupported, required } from "../../shared/field-errors.ts";
import { isQualifiedName } from "../../shared/names.ts";

/** Fields of a Pod as environment variables and files (https://kubernetes.io/docs/concepts/workloads/pods/downward-api/). */

export const volumeFieldPaths = [
  "metadata.annotations",
  "metadata.labels",
  "metadata.name",
  "metadata.namespace",
  "metadata.uid",
];
export const envFieldPaths = [
  "metadata.name",
  "metadata.namespace",
  "metadata.uid",
  "spec.nodeName",
  "spec.serviceAccountName",
  "status.hostIP",
  "status.hostIPs",
  "status.podIP",
  "status.podIPs",
];
/** What the API version knows at all; the rest cannot be converted. */
const knownFieldPaths = new Set([...volumeFieldPaths, ...envFieldPaths, "spec.restartPolicy", "spec.schedulerName"]);
const knownLabels = new Set([...knownFieldPaths, "spec.host", "status.phase"]);

export function validateFieldRef(ref: k8s.ObjectFieldSelector, supported: readonly string[], at: string): FieldError[] {
  if (ref.apiVersion === "") return [required(`${at}.apiVersion`)];
  if (!ref.fieldPath) return [required(`${at}.fieldPath`)];
  const [, path = ref.fieldPath, subscript] = /^(.*)\['(.*)'\]$/.exec(ref.fieldPath) ?? [];
  if ((ref.apiVersion ?? "v1") !== "v1" || !knownLabels.has(path)) {
    const why =
      (ref.apiVersion ?? "v1") === "v1"
        ? `field label not supported: ${ref.fieldPath}`
        : `unsupported pod version: ${ref.apiVersion}`;
    return [invalid(`${at}.fieldPath`, ref.fieldPath, `error converting fieldPath: ${why}`)];
  }
  if (subscript !== undefined) {
    if (path === "metadata.annotations") return named(at, subscript.toLowerCase(), isQualifiedName);
    if (path === "metadata.labels") return named(at, subscript, isQualifiedName);
    return [invalid(at, path, "does not support subscript")];
  }
  return supported.includes(path) ? [] : [notSupported(`${at}.fieldPath`, path, supported)];
}

const resourceFields = [
  "limits.cpu",
  "limits.ephemeral-storage",
  "limits.memory",
  "requests.cpu",
  "requests.ephemeral-storage",
  "requests.memory",
];
const byteDivisors = ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
const divisorWords: Readonly<Record<string, string>> = {
  memory: "memory",
  "ephemeral-storage": "local ephemeral storage",
};

export function validateResourceFieldRef(ref: k8s.ResourceFieldSelector, at: string, inVolume: boolean): FieldError[] {
  const errors: FieldError[] = [];
  const huge = /^(limits|requests)\.hugepages-/.test(ref.resource ?? "");
  if (inVolume && !ref.containerName) errors.push(required(`${at}.containerName`));
  else if (!ref.resource) errors.push(required(`${at}.resource`));
  else if (!resourceFields.includes(ref.resource) && !huge)
    errors.push(notSupported(`${at}.resource`, ref.resource, resourceFields));
  const divisor = ref.divisor === undefined ? "0" : String(ref.divisor);
  if (divisor === "0" || divisor === "") return errors;
  const resource = (ref.resource ?? "").replace(/^(limits|requests)\./, "");
  if (resource === "cpu" && !["1m", "1"].includes(divisor))
    errors.push(
      invalid(`${at}.divisor`, ref.resource, "only divisor's values 1m and 1 are supported with the cpu resource"),
    );
  const words = huge ? "hugepages" : divisorWords[resource];
  if (words !== undefined && !byteDivisors.includes(divisor))
    errors.push(
      invalid(
        `${at}.divisor`,
        ref.resource,
        `only divisor's values ${byteDivisors.join(", ")} are supported with the ${words} resource`,
      ),
    );
  return errors;
}
