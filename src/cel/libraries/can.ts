/** Whether something can be made without an error: what `isX` functions say of `x`. */
export function can(make: () => unknown): boolean {
  try {
    make();
    return true;
  } catch {
    return false;
  }
}
