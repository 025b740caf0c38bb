import type { KubeObject } from "../../../api/index.ts";
import { notImplemented } from "../../../base/index.ts";
import type { Kind } from "../kind.ts";
import type { Operation } from "../operation.ts";

export function applyObject(
  _kind: Kind,
  _old: KubeObject | undefined,
  _applied: KubeObject,
  _op: Operation,
  _o: { force: boolean; nowMs: number },
): KubeObject {
  throw notImplemented("apply");
}
