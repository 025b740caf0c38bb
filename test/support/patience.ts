/**
 * How long tests wait before they give up, for machines that are so many times slower than usual (an emulated one: 8): BERTH_TEST_PATIENCE. What is waited for
 * stays the same.
 */
const FACTOR = Number(process.env["BERTH_TEST_PATIENCE"] ?? 1);

export function patience(ms: number): number {
  return ms * FACTOR;
}
