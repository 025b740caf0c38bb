import { createHash } from "node:crypto";
import { builtinKinds, type Kind, type StrategyContext } from "../../../apiserver/index.ts";
import { invalidArgument, messageOf } from "../../../base/index.ts";
import type { Container, Pod } from "../pod/imports.ts";

/** Upstream's annotations by which static Pods and their mirrors are known (pkg/kubelet/types/pod_update.go). */
export const STATIC = {
  source: "kubernetes.io/config.source",
  hash: "kubernetes.io/config.hash",
  seen: "kubernetes.io/config.seen",
  /** On the mirror only: the hash of the static Pod that it shows, which is that Pod's uid on the node. */
  mirror: "kubernetes.io/config.mirror",
} as const;

const AS_NODE: StrategyContext = {
  user: { name: "system:node", uid: "", groups: [], extra: {} },
  nowMs: 0,
  subresource: "",
  dryRun: false,
};
/** Where a manifest comes from: a file's path, or a URL. */
export interface ManifestSource {
  readonly kind: "file" | "http";
  readonly at: string;
}

/** Made when the first manifest is read. */
let podKind: Kind | undefined;

/**
 * The Pod that a manifest's text describes, as this node runs it: `NAME-NODE`, with a uid made of the content, so that the same text is the same Pod after a
 * restart and a changed one is another. Throws invalidArgument with the file and what is wrong.
 */
export async function staticPod(text: string, source: ManifestSource, nodeName: string, seen: string): Promise<Pod> {
  const { kind: origin, at: file } = source;
  const pod = (await decode(text, file)) as Pod;
  const { kind, apiVersion } = pod as { kind?: string; apiVersion?: string };
  if (kind !== "Pod" || apiVersion !== "v1") throw invalid(file, `it is ${apiVersion} ${kind}, not v1 Pod`);
  if (!pod.metadata?.name) throw invalid(file, "metadata.name is missing");
  const uid = createHash("md5").update(`host:${nodeName}\n${origin}:${file}\n`).update(text).digest("hex");
  const { annotations, labels, namespace } = pod.metadata;
  const fresh: Pod = {
    ...pod,
    metadata: {
      ...(labels ? { labels } : {}),
      name: `${pod.metadata.name}-${nodeName}`,
      namespace: namespace || "default",
      uid,
      creationTimestamp: seen,
      annotations: { ...annotations, [STATIC.source]: origin, [STATIC.hash]: uid, [STATIC.seen]: seen },
    },
    spec: {
      ...pod.spec!,
      nodeName,
      tolerations: [...(pod.spec?.tolerations ?? []), { operator: "Exists", effect: "NoExecute" }],
    },
    status: { phase: "Pending", startTime: seen },
  };
  podKind ??= builtinKinds().find((candidate) => candidate.group === "" && candidate.kind === "Pod");
  const { strategy } = podKind!;
  if (!Array.isArray(fresh.spec?.containers)) throw invalid(file, "spec.containers is missing");
  strategy.fillDefaults?.(fresh);
  const wrong = strategy.validate?.(fresh, AS_NODE) ?? [];
  if (wrong.length > 0) throw invalid(file, wrong.map(({ field, detail }) => `${field}: ${detail}`).join("; "));
  const reference = apiReference(fresh);
  if (reference) throw invalid(file, `static Pods cannot refer to ${reference}: they run without the API`);
  return fresh;
}

/** The manifests in a text that may also be a list of Pods: one text each. Throws invalidArgument. */
export async function manifestsIn(text: string, at: string): Promise<string[]> {
  const { kind, items } = (await decode(text, at)) as { kind?: string; items?: object[] };
  if (!kind?.endsWith("List")) return [text];
  return (items ?? []).map((item) => JSON.stringify({ apiVersion: "v1", kind: "Pod", ...item }));
}

async function decode(text: string, file: string): Promise<object> {
  const { load, JSON_SCHEMA } = await import("js-yaml");
  try {
    const value = load(text, { schema: JSON_SCHEMA });
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value;
  } catch (cause) {
    throw invalid(file, messageOf(cause).split("\n")[0]!);
  }
  throw invalid(file, "it holds no object");
}

function invalid(file: string, why: string) {
  return invalidArgument(`the static Pod of ${file} does not run: ${why}`);
}

/** What the API would have to be asked for. */
function apiReference(pod: Pod): string | undefined {
  const spec = pod.spec!;
  if (spec.serviceAccountName) return "a service account";
  if (spec.resourceClaims?.length) return "resource claims";
  for (const volume of spec.volumes ?? []) {
    const parts: readonly object[] = [volume, ...(volume.projected?.sources ?? [])];
    for (const [field, what] of [
      ["configMap", "a ConfigMap"],
      ["secret", "a Secret"],
      ["serviceAccountToken", "a service account"],
      ["persistentVolumeClaim", "a claim"],
    ] as const)
      if (parts.some((part) => field in part)) return what;
  }
  for (const container of [...(spec.initContainers ?? []), ...spec.containers] as Container[]) {
    if (container.envFrom?.length) return "ConfigMaps or Secrets";
    for (const { valueFrom } of container.env ?? [])
      if (valueFrom?.configMapKeyRef || valueFrom?.secretKeyRef) return "ConfigMaps or Secrets";
  }
  return undefined;
}
