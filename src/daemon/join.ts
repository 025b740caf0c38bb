import { readFileSync } from "node:fs";
import { invalidArgument } from "../base/index.ts";
import type { ClusterSettings } from "./services/cluster/settings.ts";

/** PEM. */
export interface Credentials {
  readonly cert: string;
  readonly key: string;
}

/**
 * What a berth needs in order to be a node of another one's cluster: written by `berth node add --join-file`, read by `berth up --join`. Whoever has it is that node:
 * mode 0600.
 */
export interface JoinFile {
  readonly version: 1;
  readonly node: string;
  /** The node's number, by which everything of it has its addresses. */
  readonly index: number;
  /** https://ADDRESS:PORT of the API server. */
  readonly server: string;
  /** PEM of the cluster's certificate authority. */
  readonly authority: string;
  /** `system:node:NAME`. */
  readonly kubelet: Credentials;
  /** Who reads Services, endpoints, policies and Pods for the node's network. */
  readonly network: Credentials;
  /** Of the kubelet's own server. */
  readonly serving: Credentials;
  /** https://ADDRESS:PORT where the images of the cluster's machine are. */
  readonly registry: string;
  readonly overlayId: number;
  readonly settings: ClusterSettings;
}

/** Throws invalidArgument that names the file. */
export function readJoinFile(file: string): JoinFile {
  let found: Partial<JoinFile>;
  try {
    found = JSON.parse(readFileSync(file, "utf8")) as Partial<JoinFile>;
  } catch (error) {
    throw invalidArgument(`${file} cannot be read as a join file`, {
      hint: "berth node add --join-file FILE, where the cluster is, writes one",
      cause: error,
    });
  }
  if (found.version !== 1)
    throw invalidArgument(`${file} is no join file of this version of berth`, {
      hint: "both sides must be the same version",
    });
  const required = [
    ...(["node", "index", "server", "authority", "kubelet", "network", "serving"] as const),
    ...(["registry", "overlayId", "settings"] as const),
  ];
  const missing = required.filter((key) => found[key] === undefined);
  if (missing.length > 0) throw invalidArgument(`${file} lacks ${missing.join(", ")}`);
  return found as JoinFile;
}
