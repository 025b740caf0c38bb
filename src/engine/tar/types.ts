/** What a tar entry is; `contiguous` files count as files. */
export type TarType = "file" | "directory" | "symlink" | "hardlink" | "character" | "block" | "fifo";

export interface TarEntry {
  /** As it stands in the archive, written as `decodeName` does (base). Not to be trusted as a path. */
  readonly name: string;
  readonly type: TarType;
  /** Permission bits, 12 of them. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes of content that follow; 0 for all but files. */
  readonly sizeBytes: number;
  /** Of them those that the archive has, where that was read from one: less for a sparse file. */
  readonly storedBytes?: number;
  /** Seconds since the epoch, may have a fraction. */
  readonly mtime: number;
  /** Target of a link. */
  readonly linkName: string;
  readonly major: number;
  readonly minor: number;
  /** Extended attributes by name (PAX `SCHILY.xattr.`). */
  readonly attributes: Readonly<Record<string, Buffer>>;
}

export const BLOCK = 512;
