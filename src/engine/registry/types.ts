/** Credentials as the Docker API's X-Registry-Auth header carries them. Never logged. */
export interface RegistryAuth {
  readonly username?: string;
  readonly password?: string;
  /** An OAuth2 refresh token. */
  readonly identitytoken?: string;
  /** A bearer token to use as it is. */
  readonly registrytoken?: string;
  readonly serveraddress?: string;
  /** base64 of `user:password`. */
  readonly auth?: string;
}

/** How much of an image travels at once, and how often a request is tried. */
export interface TransferLimits {
  /** Layers of one pull. */
  readonly downloads: number;
  /** Layers of one push. */
  readonly uploads: number;
  readonly attempts: number;
}

export interface RegistryConfig {
  /** Registry host → base URLs tried in order before it, e.g. `{"docker.io": ["http://127.0.0.1:5001"]}`. */
  readonly mirrors?: Readonly<Record<string, readonly string[]>>;
  /** Hosts (`host:port`) and CIDRs reached over plain HTTP or with unverified TLS. 127.0.0.0/8 and ::1 always are. */
  readonly insecureRegistries?: readonly string[];
  /** Folder with `HOST:PORT/{ca.crt,client.cert,client.key}`, as Docker's /etc/docker/certs.d. */
  readonly certsDir?: string;
  /** Docker's own where left out. */
  readonly transfers?: Partial<TransferLimits>;
  /** HTTP_PROXY, HTTPS_PROXY, NO_PROXY in the usual meaning. */
  readonly env?: Readonly<Record<string, string | undefined>>;
}
