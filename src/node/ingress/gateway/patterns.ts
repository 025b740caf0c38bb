import type { RE2JS } from "re2js";

const MAX_PATTERNS = 1_000;
let engine: typeof RE2JS | undefined;
const known = new Map<string, { test(text: string): boolean }>();

/** Before the first pattern is used: most clusters never need the engine. */
export async function loadPatterns(): Promise<void> {
  engine ??= (await import("re2js")).RE2JS;
}

/** A user's regular expression over the whole text, in time linear in its length. One that cannot be read fits nothing. */
export function re2Like(pattern: string): { test(text: string): boolean } {
  let found = known.get(pattern);
  if (found) return found;
  try {
    const compiled = engine!.compile(pattern);
    found = { test: (text) => compiled.matches(text) };
  } catch {
    found = { test: () => false };
  }
  if (known.size >= MAX_PATTERNS) known.clear();
  known.set(pattern, found);
  return found;
}
