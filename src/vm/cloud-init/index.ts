export { writeIso } from "./iso.ts";
export { seedFiles, type SeedFacts, type SeedInterface } from "./seed.ts";
