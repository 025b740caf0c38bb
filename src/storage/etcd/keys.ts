/** As a range's beginning: the first key there is; as its end: to the last. */
export const FIRST_KEY = Buffer.from("\0");

/** The first key after all that begin with the prefix. */
export function endOf(prefix: string): Buffer {
  const end = Buffer.from(prefix);
  for (let at = end.length - 1; at >= 0; at--) {
    if (end[at]! < 0xff) {
      end[at]!++;
      return end.subarray(0, at + 1);
    }
  }
  return FIRST_KEY;
}
