import type { KubeObject } from "../../../api/index.ts";
import type { Kind } from "../kind.ts";
import type { Operation } from "../operation.ts";

export function trackUpdate(
  _kind: Kind,
  old: KubeObject | undefined,
  next: KubeObject,
  _op: Operation,
  _nowMs: number,
): void {
  if (old?.metadata.managedFields) next.metadata.managedFields = old.metadata.managedFields;
}
