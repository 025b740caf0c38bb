import type { k8s } from "../../../api/index.ts";
import type { FieldError } from "../../machinery/kind.ts";
import { nano } from "../shared/checks.ts";
import { deepEqual, forbidden, immutable } from "../shared/field-errors.ts";
import { validateClaimSpec } from "./claim-validation.ts";

type Claim = k8s.PersistentVolumeClaim;

const storageOf = (spec: k8s.PersistentVolumeClaimSpec | undefined): string | undefined =>
  spec?.resources?.requests?.["storage"];

/** Upstream's ValidatePersistentVolumeClaimUpdate: bound once, growing only, else as it was made. */
export function validateClaimChange(now: Claim, old: Claim): FieldError[] {
  const after = now.spec ?? {};
  const before = old.spec ?? {};
  const errors = deepEqual(after, before) ? [] : validateClaimSpec(after, "spec");
  const expected = {
    ...before,
    volumeName: before.volumeName || after.volumeName,
    storageClassName: before.storageClassName ?? after.storageClassName,
  };
  const given = { ...after, volumeAttributesClassName: before.volumeAttributesClassName };
  if (now.status?.phase === "Bound" && after.resources?.requests !== undefined)
    given.resources = {
      ...after.resources,
      requests: { ...after.resources.requests, storage: storageOf(before) ?? "0" },
    };
  if (!deepEqual(given, expected))
    errors.push(
      forbidden(
        "spec",
        "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n",
      ),
    );
  errors.push(...validateShrinking(now, old));
  errors.push(...immutable("volumeMode", after.volumeMode, before.volumeMode));
  const [className, oldClass] = [after.volumeAttributesClassName, before.volumeAttributesClassName];
  const at = "spec.volumeAttributesClassName";
  if (oldClass !== undefined && className === undefined)
    errors.push(forbidden(at, "update from non-nil value to nil is forbidden"));
  else if (oldClass !== undefined && oldClass !== className && className === "")
    errors.push(forbidden(at, "update from non-nil value to an empty string is forbidden"));
  return errors;
}

/** A size that could not be reached may be taken back, not below what there is. */
function validateShrinking(now: Claim, old: Claim): FieldError[] {
  const size = nano(storageOf(now.spec)) ?? 0n;
  if (size >= (nano(storageOf(old.spec)) ?? 0n)) return [];
  if (size > (nano(old.status?.capacity?.["storage"]) ?? 0n)) return [];
  return [forbidden("spec.resources.requests.storage", "field can not be less than status.capacity")];
}
