import type { OciImageRunConfig } from "../../api/index.ts";
import type { Image, ImagePart } from "../../engine/index.ts";

/** ImageSummary of the published description. `sharedSizeBytes` is -1 when it wasn't asked for, `containers` when it isn't counted. */
export function imageSummary(image: Image, sharedSizeBytes: number, containers: number, apiMinor: number): object {
  return {
    Containers: containers,
    Created: Math.floor(image.createdMs / 1000),
    Id: image.id,
    Labels: image.config.config?.Labels ?? null,
    ParentId: image.parent ?? "",
    RepoDigests: namesOr(image.repoDigests, "<none>@<none>", apiMinor),
    RepoTags: namesOr(image.repoTags, "<none>:<none>", apiMinor),
    SharedSize: sharedSizeBytes,
    Size: image.sizeBytes,
    ...(apiMinor < 44 && { VirtualSize: image.sizeBytes }),
    ...(apiMinor >= 48 && image.manifest && { Descriptor: image.manifest }),
  };
}

/** ImageManifestSummary of the published description (API v1.47). */
export function manifestSummary({ descriptor, kind, platform, image, ...part }: ImagePart): object {
  const unpacked = image?.sizeBytes ?? 0;
  return {
    ID: descriptor.digest,
    Descriptor: { ...descriptor, ...(platform && { platform }) },
    Available: image !== undefined,
    Size: { Content: part.contentBytes, Total: part.contentBytes + unpacked },
    Kind: kind,
    ...(kind === "image" && {
      ImageData: { Platform: platform, Containers: part.containerIds, Size: { Unpacked: unpacked } },
    }),
    ...(kind === "attestation" && { AttestationData: { For: part.attests ?? "" } }),
  };
}

/** Before v1.43 an image without names had a name that said so. */
function namesOr(names: readonly string[], none: string, apiMinor: number): readonly string[] {
  return names.length > 0 || apiMinor >= 43 ? names : [none];
}

/** ImageInspect of the published description. */
export function imageInspect(image: Image, apiMinor: number): object {
  const { config } = image;
  return {
    Id: image.id,
    ...(apiMinor >= 48 && image.manifest && { Descriptor: image.manifest }),
    RepoTags: image.repoTags,
    RepoDigests: image.repoDigests,
    Parent: image.parent ?? "",
    Comment: config.history?.at(-1)?.comment ?? "",
    ...createdOf(config.created, apiMinor),
    ...(apiMinor < 45 && {
      Container: config.container ?? "",
      ContainerConfig: runConfig(config.container_config ?? {}),
    }),
    DockerVersion: config.docker_version ?? "",
    Author: config.author ?? "",
    Config: apiMinor < 50 ? runConfig(config.config ?? {}) : (config.config ?? {}),
    Architecture: config.architecture,
    ...(config.variant && { Variant: config.variant }),
    Os: config.os,
    ...(config["os.version"] && { OsVersion: config["os.version"] }),
    Size: image.sizeBytes,
    ...(apiMinor < 44 && { VirtualSize: image.sizeBytes }),
    GraphDriver: { Name: "overlay2", Data: graphData(image) },
    RootFS: { Type: "layers", ...(image.layers.length > 0 && { Layers: image.layers.map((layer) => layer.diffId) }) },
    Metadata: {
      LastTagTime: image.lastTaggedMs === undefined ? ZERO_TIME : new Date(image.lastTaggedMs).toISOString(),
    },
  };
}

/** Go's zero time, which Docker shows for "never". */
const ZERO_TIME = "0001-01-01T00:00:00Z";

function createdOf(created: string | undefined, apiMinor: number): { Created?: string } {
  if (created !== undefined) return { Created: created };
  return apiMinor < 44 ? { Created: ZERO_TIME } : {};
}

function graphData(image: Image): Record<string, string> {
  const [top, ...below] = [...image.layers].reverse();
  if (!top) return {};
  return {
    ...(below.length > 0 && { LowerDir: below.map((layer) => layer.path).join(":") }),
    UpperDir: top.path,
  };
}

/** Before v1.50 the configuration showed every field of a container's, also those that images never have. */
function runConfig(config: OciImageRunConfig): object {
  return {
    Hostname: "",
    Domainname: "",
    User: config.User ?? "",
    AttachStdin: false,
    AttachStdout: false,
    AttachStderr: false,
    ...(config.ExposedPorts && { ExposedPorts: config.ExposedPorts }),
    Tty: false,
    OpenStdin: false,
    StdinOnce: false,
    Env: config.Env ?? null,
    Cmd: config.Cmd ?? null,
    ...(config.Healthcheck && { Healthcheck: config.Healthcheck }),
    Image: "",
    Volumes: config.Volumes ?? null,
    WorkingDir: config.WorkingDir ?? "",
    Entrypoint: config.Entrypoint ?? null,
    OnBuild: config.OnBuild ?? null,
    Labels: config.Labels ?? null,
    ...(config.StopSignal && { StopSignal: config.StopSignal }),
    ...(config.Shell && { Shell: config.Shell }),
  };
}
