/**
 * Bounds that several rooms share, each with a name and a unit. A bound that only one room uses stands in that room.
 * Nothing that grows with input is unbounded.
 */
export const KiB = 1024;
export const MiB = 1024 * KiB;
export const GiB = 1024 * MiB;

/** A JSON request body; etcd's own limit for a request is 1.5 MiB and upstream's API server allows 3 MiB. */
export const MAX_JSON_BODY_BYTES = 3 * MiB;
/** Nesting of a JSON document that we parse for somebody else. */
export const MAX_JSON_DEPTH = 512;
/** Files we read whole into memory (manifests, configs, unit files). */
export const MAX_SMALL_FILE_BYTES = 8 * MiB;
