/** CEL's equality, as far as members of lists need it: an integer equals the double of the same value. */
export function same(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  const isNumber = (value: unknown): value is number | bigint => typeof value === "number" || typeof value === "bigint";
  // oxlint-disable-next-line eqeqeq -- 1n == 1 is what is wanted
  if (isNumber(a) && isNumber(b)) return a == b;
  if (Array.isArray(a) && Array.isArray(b)) return a.length === b.length && a.every((item, at) => same(item, b[at]));
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  const [left, right] = [a as Record<string, unknown>, b as Record<string, unknown>];
  const keys = Object.keys(left);
  return keys.length === Object.keys(right).length && keys.every((key) => key in right && same(left[key], right[key]));
}
