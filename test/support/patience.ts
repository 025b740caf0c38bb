/**
 * How long tests wait before they give up, for machines that are so many times slower than usual (an emulated one: 8): BERTH_TEST_PATIENCE. What is waited for
 * stays the same.
 */
const FACTOR = Number(process.env["BERTH_TEST_PATIENCE"] ?? 1);

export function patience(ms: number): number {
  return ms * FACTOR;
}

/** How many tests go on beside each other: one at a time where each alone is slow. */
export function atOnce(count: number): number {
  return FACTOR > 1 ? 1 : count;
}
