/**
 * The OCI image specification v1.1 (https://github.com/opencontainers/image-spec) and Docker's image manifest v2 schema 2
 * (https://distribution.github.io/distribution/spec/manifest-v2-2/), which has the same shape under other media types.
 */
export interface OciPlatform {
  readonly architecture: string;
  readonly os: string;
  readonly variant?: string;
  readonly "os.version"?: string;
  readonly "os.features"?: readonly string[];
}

export interface OciDescriptor {
  readonly mediaType: string;
  /** `sha256:` + 64 hex digits. */
  readonly digest: string;
  /** Bytes. */
  readonly size: number;
  readonly urls?: readonly string[];
  readonly annotations?: Readonly<Record<string, string>>;
  readonly platform?: OciPlatform;
  readonly artifactType?: string;
  /** Base64 of the content itself, for very small content. */
  readonly data?: string;
}

export interface OciManifest {
  readonly schemaVersion: 2;
  readonly mediaType?: string;
  readonly artifactType?: string;
  readonly config: OciDescriptor;
  readonly layers: readonly OciDescriptor[];
  readonly subject?: OciDescriptor;
  readonly annotations?: Readonly<Record<string, string>>;
}

export interface OciIndex {
  readonly schemaVersion: 2;
  readonly mediaType?: string;
  readonly artifactType?: string;
  readonly manifests: readonly OciDescriptor[];
  readonly subject?: OciDescriptor;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** Durations are nanoseconds. Docker's extension of the image configuration. */
export interface HealthConfig {
  /** `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", command]`; empty inherits. */
  Test?: string[];
  Interval?: number;
  Timeout?: number;
  StartPeriod?: number;
  StartInterval?: number;
  Retries?: number;
}

/** The `config` of an image configuration: what a container made from it runs. */
export interface OciImageRunConfig {
  User?: string;
  ExposedPorts?: Record<string, Record<string, never>>;
  Env?: string[];
  Entrypoint?: string[] | null;
  Cmd?: string[] | null;
  Volumes?: Record<string, Record<string, never>> | null;
  WorkingDir?: string;
  Labels?: Record<string, string> | null;
  StopSignal?: string;
  ArgsEscaped?: boolean;
  Healthcheck?: HealthConfig;
  OnBuild?: string[] | null;
  Shell?: string[];
  StopTimeout?: number;
}

export interface OciHistory {
  created?: string;
  author?: string;
  created_by?: string;
  comment?: string;
  empty_layer?: boolean;
}

export interface OciImageConfig {
  created?: string;
  author?: string;
  architecture: string;
  os: string;
  variant?: string;
  "os.version"?: string;
  "os.features"?: readonly string[];
  config?: OciImageRunConfig;
  rootfs: { type: "layers"; diff_ids: string[] };
  history?: OciHistory[];
  /** Docker's own: what `docker commit` and the classic builder recorded. */
  docker_version?: string;
  container?: string;
  container_config?: OciImageRunConfig;
}

/** `oci-layout` in an OCI archive. */
export interface OciLayout {
  readonly imageLayoutVersion: string;
}

/** An entry of `manifest.json` in the archives of `docker save`. */
export interface DockerArchiveEntry {
  readonly Config: string;
  readonly RepoTags: readonly string[] | null;
  readonly Layers: readonly string[];
  readonly Parent?: string;
  readonly LayerSources?: Readonly<Record<string, OciDescriptor>>;
}
