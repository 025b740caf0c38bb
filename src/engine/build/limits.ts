/** Bounds of a build. Whoever may send a context may not fill memory, the disk or the process table with it. */
import { GiB, MiB } from "../../base/index.ts";

/** Entries of a context or of an archive that ADD unpacks. */
export const MAX_TREE_ENTRIES = 1_000_000;
/** Bytes of a context or of an unpacked archive. */
export const MAX_TREE_BYTES = 64 * GiB;
/** Linux' PATH_MAX. */
export const MAX_PATH_BYTES = 4096;
/** Output of one step that waits because an earlier step still writes. What is more is left out, and the stream says so. */
export const MAX_BUFFERED_OUTPUT_CHARS = 1 * MiB;
/** What `ADD URL` downloads. */
export const MAX_DOWNLOAD_BYTES = 8 * GiB;
/** RUN steps that run at one time, over all builds. */
export const MAX_PARALLEL_RUNS = 4;
/** Symbolic links followed while a path is resolved, as the kernel has it. */
export const MAX_SYMLINKS = 40;
/** Cache records kept; the least recently used go first. */
export const MAX_CACHE_RECORDS = 20_000;
