/** Formats that disks come in, by what `qemu-img info` calls them. Machines run on qcow2 and raw; everything else is converted. */
export const IMPORTED_FORMATS: ReadonlySet<string> = new Set(["raw", "qcow2", "vmdk", "vdi", "vhdx", "vpc"]);

/** Formats of an export: what tools elsewhere expect under that name. */
export const EXPORT_OPTIONS: Readonly<Record<string, { readonly format: string; readonly options?: string }>> = {
  qcow2: { format: "qcow2" },
  raw: { format: "raw" },
  vmdk: { format: "vmdk", options: "subformat=streamOptimized" },
  vdi: { format: "vdi" },
};
