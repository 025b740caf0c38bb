import type { FilesystemUsage, ImageSpec, PodSandboxConfig } from "./runtime.ts";

/** Images as a kubelet sees them: CRI v1's ImageService. */
export interface ImageService {
  listImages(filter?: { image?: ImageSpec }): Promise<CriImage[]>;
  /** Undefined when the image is not here. */
  imageStatus(image: ImageSpec): Promise<CriImage | undefined>;
  /** Returns the image's id. Throws notFound, permissionDenied or unavailable with the registry's own words. */
  pullImage(image: ImageSpec, options: PullOptions): Promise<string>;
  removeImage(image: ImageSpec): Promise<void>;
  imageFsInfo(): Promise<{ imageFilesystems: FilesystemUsage[]; containerFilesystems: FilesystemUsage[] }>;
}

export interface PullOptions {
  auth?: RegistryAuth;
  sandboxConfig?: PodSandboxConfig;
  signal?: AbortSignal;
}

export interface RegistryAuth {
  username?: string;
  password?: string;
  auth?: string;
  serverAddress?: string;
  identityToken?: string;
  registryToken?: string;
}

export interface CriImage {
  id: string;
  repoTags: string[];
  repoDigests: string[];
  sizeBytes: number;
  /** The image's USER when it is a number. */
  uid?: number;
  /** The image's USER when it is a name. */
  username: string;
  pinned: boolean;
  spec: ImageSpec;
  /** True for an image that only exists here (built or loaded), which no registry can answer for. */
  local: boolean;
}
