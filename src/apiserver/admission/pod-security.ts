import type { k8s, KubeObject } from "../../api/index.ts";
import type { ClusterState } from "../cluster-state.ts";
import type { Admission, AdmissionRequest } from "../machinery/pipeline.ts";
import { violationsOf } from "./pod-security-standards.ts";
import type { Level } from "./pod-security-standards.ts";
import { refuse } from "./plugin.ts";

const label = "pod-security.kubernetes.io/";

/**
 * Pod Security Admission (https://kubernetes.io/docs/concepts/security/pod-security-admission/): a namespace's labels say which standard
 * is enforced, warned about and audited. Workloads that make Pods are warned about, never refused.
 */
export function podSecurity(state: ClusterState): Admission {
  return {
    async validate(request) {
      if (request.subresource !== "" || (request.operation !== "CREATE" && request.operation !== "UPDATE")) return;
      const isPod = request.resource.group === "" && request.resource.resource === "pods";
      const pod = isPod ? (request.object as k8s.Pod) : templateOf(request.object);
      if (pod?.spec === undefined || (isPod && request.operation === "UPDATE")) return;
      const namespace = await state.namespaces.find(request.namespace);
      const labels = namespace?.metadata.labels ?? {};
      const levelOf = (mode: string) => (labels[label + mode] ?? "privileged") as Level;
      const versionOf = (mode: string) => labels[`${label}${mode}-version`] ?? "latest";
      if (isPod) enforce(request, pod, levelOf("enforce"), versionOf("enforce"));
      warn(request, pod, levelOf("warn"), versionOf("warn"));
      const audited = violationsOf(pod, levelOf("audit"));
      if (audited.length > 0)
        request.annotate(
          `${label}audit-violations`,
          describe("would violate", levelOf("audit"), versionOf("audit"), audited),
        );
    },
  };
}

function enforce(request: AdmissionRequest, pod: Templated, level: Level, version: string): void {
  const violations = violationsOf(pod, level);
  if (violations.length > 0) throw refuse(request, describe("violates", level, version, violations));
}

function warn(request: AdmissionRequest, pod: Templated, level: Level, version: string): void {
  const violations = violationsOf(pod, level);
  if (violations.length > 0) request.warn(describe("would violate", level, version, violations));
}

const describe = (verb: string, level: Level, version: string, violations: readonly string[]): string =>
  `${verb} PodSecurity "${level}:${version}": ${violations.join(", ")}`;

interface Templated {
  metadata?: k8s.ObjectMeta;
  spec?: k8s.PodSpec;
}

function templateOf(object: KubeObject | undefined): Templated | undefined {
  const spec = object?.["spec"] as
    | { template?: Templated; jobTemplate?: { spec?: { template?: Templated } } }
    | undefined;
  return spec?.template ?? spec?.jobTemplate?.spec?.template;
}
