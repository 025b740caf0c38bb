export { PackageBootstrapper } from "./bootstrap.ts";
export { mmdebstrapArguments, parseOsRelease, recipeFor } from "./recipes.ts";
