/**
 * Named volumes: directories that outlive containers. A volume is *held* by containers that refer to it (running or not) and *mounted* while at least
 * one of them runs; a plain local volume needs no mount, one with `type`/`device`/`o` options does.
 */
export interface VolumeSpec {
  /** Left out: 64 hex digits, and the volume is anonymous. */
  readonly name?: string;
  /** Only `local`. */
  readonly driver?: string;
  /** `type`, `device`, `o` as mount(8) knows them, and `size`. */
  readonly options?: Readonly<Record<string, string>>;
  readonly labels?: Readonly<Record<string, string>>;
  /** Holds it from the beginning. An anonymous volume whose first holder is unknown at the next start was made in vain, and goes. */
  readonly holder?: string;
}

export interface Volume {
  readonly name: string;
  readonly driver: "local";
  readonly createdMs: number;
  /** The directory that containers see. */
  readonly mountpoint: string;
  readonly options: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
  /** Created without a name. */
  readonly anonymous: boolean;
}

export interface VolumeUsage {
  readonly volume: Volume;
  readonly sizeBytes: number;
  /** Containers that refer to it. */
  readonly refCount: number;
}

export interface VolumeService {
  /** Returns the volume of that name if there is one with the same driver and options; throws conflict when they differ. */
  create(spec: VolumeSpec): Promise<Volume>;
  /** Throws notFound. */
  get(name: string): Volume;
  list(): Volume[];
  /** Throws conflict while it is held. With `force`, a volume that is not there is no error. */
  remove(name: string, force?: boolean): Promise<void>;
  /** Removes the volumes that nobody holds and that `accept` takes. */
  prune(accept: (volume: Volume) => boolean): Promise<{ removed: Volume[]; reclaimedBytes: number }>;

  /** Notes that `holder` (a container id) refers to the volume, which keeps it from removal. Idempotent. */
  hold(name: string, holder: string): void;
  release(name: string, holder: string): void;
  /** The holders of a volume. */
  holders(name: string): readonly string[];
  /** Makes the volume's content available at the returned directory for `holder`, mounting it where its options say so. Idempotent. */
  mount(name: string, holder: string): Promise<string>;
  unmount(name: string, holder: string): Promise<void>;
  /**
   * Fills an empty volume with the content, owner and mode of a directory of the image (Docker's copy-up). Does nothing when the volume has content or
   * the directory does not exist. `rootDir` is the container's root file system, `path` the directory within it; symlinks cannot leave the root.
   */
  populate(name: string, rootDir: string, path: string): Promise<void>;
  /** A directory or file inside the volume, for `volume-subpath`; never outside of it. Throws invalidArgument and notFound. */
  subpath(name: string, subpath: string): Promise<string>;
  usage(signal?: AbortSignal): Promise<VolumeUsage[]>;

  /** Called once after start: forgets holders that are gone, removes anonymous volumes made for a container that never came to be, and unmounts what only they used. */
  recover(holders: ReadonlySet<string>): Promise<void>;
  close(): Promise<void>;
}
