export { PackageBootstrapper } from "./bootstrap/index.ts";
export { applyChanges } from "./changes.ts";
export { Images, type Bootstrapper, type BootstrapResult, type ImagesOptions } from "./service.ts";
export { foreignPlatformWarning, parsePlatform } from "./platform.ts";
export { shortId } from "./progress.ts";
export { familiarName, parseReference, type Reference } from "./reference.ts";
export type * from "./types.ts";
