/** Bodies of the OCI distribution specification v1.1, https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md */

/** The `code` of an entry in an error body. */
export type RegistryErrorCode =
  | "BLOB_UNKNOWN"
  | "BLOB_UPLOAD_INVALID"
  | "BLOB_UPLOAD_UNKNOWN"
  | "DIGEST_INVALID"
  | "MANIFEST_BLOB_UNKNOWN"
  | "MANIFEST_INVALID"
  | "MANIFEST_UNKNOWN"
  | "NAME_INVALID"
  | "NAME_UNKNOWN"
  | "SIZE_INVALID"
  | "UNAUTHORIZED"
  | "DENIED"
  | "UNSUPPORTED"
  | "TOOMANYREQUESTS"
  | "RANGE_INVALID"
  | "UNKNOWN";

export interface RegistryErrorBody {
  readonly errors: ReadonlyArray<{
    readonly code: RegistryErrorCode;
    readonly message: string;
    readonly detail?: unknown;
  }>;
}

export interface TagList {
  readonly name: string;
  readonly tags: readonly string[];
}

export interface Catalog {
  readonly repositories: readonly string[];
}
