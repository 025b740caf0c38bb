export { BOOTSTRAP_NAMES, PackageBootstrapper } from "./bootstrap/index.ts";
export { applyChanges } from "./changes.ts";
export { Images, type Bootstrapper, type BootstrapResult, type ImagesOptions } from "./service.ts";
export { choosePlatform, hostPlatform, parsePlatform, platformScore, platformText } from "./platform.ts";
export { humanSize, progressBar } from "./progress.ts";
export { familiarName, familiarRepository, parseReference, repositoryOf, type Reference } from "./reference.ts";
export { isIndexType, isManifestType, parseIndex, parseManifest } from "./manifest.ts";
export type * from "./types.ts";
