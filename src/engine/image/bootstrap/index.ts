export { PackageBootstrapper } from "./bootstrap.ts";
export { BOOTSTRAP_NAMES, mmdebstrapArguments, parseOsRelease, recipeFor } from "./recipes.ts";
