import type { k8s } from "../../../api/index.ts";
import type { FieldError } from "../../machinery/kind.ts";
import { mustBeSet, namedIfSet, positiveQuantity, subdomain } from "../shared/checks.ts";
import { forbidden, invalid, notSupported, oneOf, required } from "../shared/field-errors.ts";
import { isDns1123Label, isDns1123Subdomain } from "../shared/names.ts";
import { validateLabelSelector } from "../shared/object-meta.ts";

const accessModes = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

export function validateAccessModes(given: readonly string[] | undefined, at: string, detail: string): FieldError[] {
  const modes = given ?? [];
  const errors = modes.length === 0 ? [required(at, detail)] : [];
  for (const mode of modes) if (!accessModes.includes(mode)) errors.push(notSupported(at, mode, accessModes));
  const known = modes.filter((mode) => accessModes.includes(mode));
  if (known.includes("ReadWriteOncePod") && known.some((mode) => mode !== "ReadWriteOncePod"))
    errors.push(forbidden(at, "may not use ReadWriteOncePod with other access modes"));
  return errors;
}

type DataSource = k8s.TypedLocalObjectReference & { namespace?: string };

function validateDataSource(source: DataSource | undefined, at: string): FieldError[] {
  if (source === undefined) return [];
  const errors = [...mustBeSet(`${at}.name`, source.name), ...mustBeSet(`${at}.kind`, source.kind)];
  if (!source.apiGroup && source.kind !== "PersistentVolumeClaim")
    errors.push(
      invalid(at, source.kind ?? "", "must be 'PersistentVolumeClaim' when referencing the default apiGroup"),
    );
  return [
    ...errors,
    ...namedIfSet(`${at}.apiGroup`, source.apiGroup, isDns1123Subdomain),
    ...namedIfSet(`${at}.namespace`, source.namespace, isDns1123Label),
  ];
}

function validateSourcesAgree(spec: k8s.PersistentVolumeClaimSpec, at: string): FieldError[] {
  const { dataSource, dataSourceRef } = spec;
  if (dataSource === undefined || dataSourceRef === undefined) return [];
  if (dataSourceRef.namespace)
    return [invalid(at, `${at}.dataSource`, "may not be specified when dataSourceRef.namespace is specified")];
  const same =
    dataSource.apiGroup === dataSourceRef.apiGroup &&
    dataSource.kind === dataSourceRef.kind &&
    dataSource.name === dataSourceRef.name;
  return same ? [] : [invalid(at, `${at}.dataSource`, "must match dataSourceRef")];
}

/** Upstream's ValidatePersistentVolumeClaimSpec. */
export function validateClaimSpec(spec: k8s.PersistentVolumeClaimSpec | undefined, at: string): FieldError[] {
  const size = spec?.resources?.requests?.["storage"];
  return [
    ...validateAccessModes(spec?.accessModes, `${at}.accessModes`, "at least 1 access mode is required"),
    ...validateLabelSelector(spec?.selector, `${at}.selector`),
    ...(size === undefined
      ? [required(`${at}.resources[storage]`)]
      : positiveQuantity(`${at}.resources[storage]`, size)),
    ...subdomain(`${at}.storageClassName`, spec?.storageClassName),
    ...oneOf(`${at}.volumeMode`, spec?.volumeMode, ["Block", "Filesystem"]),
    ...validateDataSource(spec?.dataSource, `${at}.dataSource`),
    ...validateDataSource(spec?.dataSourceRef, `${at}.dataSourceRef`),
    ...(spec ? validateSourcesAgree(spec, at) : []),
    ...subdomain(`${at}.volumeAttributesClassName`, spec?.volumeAttributesClassName),
  ];
}
