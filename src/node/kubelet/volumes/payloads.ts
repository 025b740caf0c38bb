import { failedPrecondition } from "../../../base/index.ts";
import type { k8s } from "../../../api/index.ts";
import type { PodFacts } from "../env/fields.ts";
import { fieldValue, resourceValue } from "../env/fields.ts";
import type { Pod } from "../pod/imports.ts";
import type { FilePayload } from "./atomic-writer.ts";

/** The files of volumes that come from API objects: configMap, secret, downwardAPI and projections of them. */
export interface PayloadSources {
  configMap(namespace: string, name: string): Promise<k8s.ConfigMap | undefined>;
  secret(namespace: string, name: string): Promise<k8s.Secret | undefined>;
  token(pod: Pod, audience: string | undefined, expirationSeconds: number): Promise<string>;
}

const DEFAULT_MODE = 0o644;
const DEFAULT_TOKEN_SECONDS = 3600;
type Files = Map<string, FilePayload>;
interface KeyToPath {
  key: string;
  path: string;
  mode?: number;
}

/** Volumes whose files follow objects of the API, and are written anew when those change. */
export function isFromApi(volume: k8s.Volume): boolean {
  return [volume.configMap, volume.secret, volume.downwardAPI, volume.projected].some((source) => source !== undefined);
}

export async function configMapFiles(
  pod: Pod,
  source: { name?: string; items?: KeyToPath[]; optional?: boolean; defaultMode?: number },
  sources: PayloadSources,
): Promise<Files> {
  const namespace = pod.metadata.namespace!;
  const map = await sources.configMap(namespace, source.name!);
  if (!map && !source.optional) throw failedPrecondition(`configmap "${source.name}" not found`);
  const data = new Map<string, Uint8Array>();
  for (const [key, value] of Object.entries(map?.data ?? {})) data.set(key, Buffer.from(value));
  for (const [key, value] of Object.entries(map?.binaryData ?? {})) data.set(key, Buffer.from(value, "base64"));
  return project(data, source, "configmap");
}

export async function secretFiles(
  pod: Pod,
  source: { secretName?: string; name?: string; items?: KeyToPath[]; optional?: boolean; defaultMode?: number },
  sources: PayloadSources,
): Promise<Files> {
  const name = source.secretName ?? source.name!;
  const secret = await sources.secret(pod.metadata.namespace!, name);
  if (!secret && !source.optional) throw failedPrecondition(`secret "${name}" not found`);
  const data = new Map(
    Object.entries(secret?.data ?? {}).map(([key, value]) => [key, Buffer.from(value, "base64") as Uint8Array]),
  );
  return project(data, source, "secret");
}

function project(
  data: ReadonlyMap<string, Uint8Array>,
  source: { items?: KeyToPath[]; optional?: boolean; defaultMode?: number },
  what: string,
): Files {
  const mode = source.defaultMode ?? DEFAULT_MODE;
  if (!source.items) return new Map([...data].map(([key, content]) => [key, { content, mode }]));
  const files: Files = new Map();
  for (const item of source.items) {
    const content = data.get(item.key);
    if (content) files.set(item.path, { content, mode: item.mode ?? mode });
    else if (!source.optional)
      throw failedPrecondition(
        `${what} references non-existent ${what === "secret" ? "secret" : "config"} key: ${item.key}`,
      );
  }
  return files;
}

export function downwardFiles(
  pod: Pod,
  items: readonly k8s.DownwardAPIVolumeFile[],
  defaultMode: number | undefined,
  facts: PodFacts,
): Files {
  const files: Files = new Map();
  for (const item of items) {
    const text = item.fieldRef
      ? fieldValue(pod, item.fieldRef, facts)
      : resourceValue(pod, pod.spec!.containers[0]!, item.resourceFieldRef!, facts);
    files.set(item.path, { content: Buffer.from(text), mode: item.mode ?? defaultMode ?? DEFAULT_MODE });
  }
  return files;
}

export async function projectedFiles(
  pod: Pod,
  source: k8s.ProjectedVolumeSource,
  facts: PodFacts,
  sources: PayloadSources,
): Promise<Files> {
  const files: Files = new Map();
  const merge = (more: Files) => more.forEach((file, name) => files.set(name, file));
  const defaultMode = source.defaultMode;
  for (const projection of source.sources ?? []) {
    if (projection.configMap) merge(await configMapFiles(pod, { ...projection.configMap, defaultMode }, sources));
    else if (projection.secret) merge(await secretFiles(pod, { ...projection.secret, defaultMode }, sources));
    else if (projection.downwardAPI) merge(downwardFiles(pod, projection.downwardAPI.items ?? [], defaultMode, facts));
    else if (projection.serviceAccountToken) {
      const { path, audience, expirationSeconds } = projection.serviceAccountToken;
      const token = await sources.token(pod, audience, expirationSeconds ?? DEFAULT_TOKEN_SECONDS);
      // A token is for whom the container runs as: readable by the Pod's group where it has one, else by all, as upstream does.
      files.set(path, {
        content: Buffer.from(token),
        mode: pod.spec?.securityContext?.fsGroup !== undefined ? 0o640 : 0o644,
      });
    } else
      throw failedPrecondition(
        `projected volume source ${Object.keys(projection).join(", ")} is not supported by this node`,
      );
  }
  return files;
}
