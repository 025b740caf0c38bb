export type * from "./instructions.ts";
export { expandWord, expandWords, type ExpandOptions, type Variables } from "./lex.ts";
export { parseDockerfile, type Dockerfile } from "./parse.ts";
export { dockerfileError, nearest, type Position, type Source } from "./source.ts";
