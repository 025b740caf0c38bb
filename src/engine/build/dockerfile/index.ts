export type * from "./instructions.ts";
export { expandWord, expandWords, type ExpandOptions, type Variables } from "./lex.ts";
export { checked, lint, lintText, type LintWarning } from "./lint.ts";
export { parseDockerfile, type Dockerfile } from "./parse.ts";
export { dockerfileError, nearest, type Position, type Source } from "./source.ts";
