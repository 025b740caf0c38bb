import { RE2JS } from "re2js";

type Matcher = (value: string) => boolean;
const remembered = 1000;
const known = new Map<string, Matcher>();

/** Go's regular expressions, which take time in proportion to the input: a CRD's author cannot stop the server with one. */
export function patternOf(source: string): Matcher {
  let matcher = known.get(source);
  if (matcher === undefined) {
    if (known.size >= remembered) known.clear();
    const compiled = RE2JS.compile(source);
    matcher = (value) => compiled.matcher(value).find();
    known.set(source, matcher);
  }
  return matcher;
}

/** What is wrong with a pattern; undefined: nothing. */
export function patternProblem(source: string): string | undefined {
  try {
    patternOf(source);
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}
