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

/** The parts of a text that match, at most so many. */
export function findAll(source: string, text: string, most: number): string[] {
  const matcher = RE2JS.compile(source).matcher(text);
  const found: string[] = [];
  while (found.length < most && matcher.find()) found.push(matcher.group() ?? "");
  return found;
}
