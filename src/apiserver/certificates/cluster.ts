import { X509Certificate } from "node:crypto";
import { chmod, mkdir, readFile, rename, writeFile } from "node:fs/promises";
import path from "node:path";

import { errnoOf } from "../../base/index.ts";
import type { Clock } from "../../base/index.ts";
import { CertificateAuthority } from "./authority.ts";
import type { KeyPair, Subject } from "./authority.ts";

const dayMs = 86_400_000;
const lifetimeMs = 365 * dayMs;
/** Certificates are made anew at start when less than this is left of them. */
const renewBeforeMs = 90 * dayMs;

/** What a cluster's server and its users prove themselves with; kept under `folder`, keys 0600. */
export interface ClusterCertificates {
  readonly authority: CertificateAuthority;
  readonly server: KeyPair;
  /** `kubernetes-admin` in `system:masters`. */
  readonly admin: KeyPair;
  issueClient(subject: Subject): KeyPair;
}

/** Reads the cluster's certificates, and makes those that are missing, nearly expired, or don't name all of `serverNames`. */
export async function openClusterCertificates(
  folder: string,
  serverNames: readonly string[],
  clock: Clock,
): Promise<ClusterCertificates> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const stored = await readPair(folder, "ca");
  const authority =
    stored === undefined ? CertificateAuthority.create("berth-ca", clock.nowMs()) : new CertificateAuthority(stored);
  if (stored === undefined) await writePair(folder, "ca", authority.pair);
  const issue = (subject: Subject, usages: readonly ("server" | "client")[], names?: readonly string[]) => {
    const nowMs = clock.nowMs();
    return authority.issue({ subject, usages, names, notBeforeMs: nowMs, notAfterMs: nowMs + lifetimeMs });
  };
  const keep = async (name: string, make: () => KeyPair, names: readonly string[]): Promise<KeyPair> => {
    const known = await readPair(folder, name);
    if (known !== undefined && isUsable(known, names, clock.nowMs())) return known;
    const made = make();
    await writePair(folder, name, made);
    return made;
  };
  const server = await keep(
    "server",
    () => issue({ commonName: "kube-apiserver" }, ["server"], serverNames),
    serverNames,
  );
  const masters = { commonName: "kubernetes-admin", organizations: ["system:masters"] };
  const admin = await keep("admin", () => issue(masters, ["client"]), []);
  return { authority, server, admin, issueClient: (subject) => issue(subject, ["client"]) };
}

function isUsable({ cert }: KeyPair, names: readonly string[], nowMs: number): boolean {
  const certificate = new X509Certificate(cert);
  if (certificate.validToDate.getTime() - nowMs < renewBeforeMs) return false;
  const covered = certificate.subjectAltName ?? "";
  return names.every((name) => covered.includes(name.includes(":") ? "IP Address:" : `:${name}`));
}

async function readPair(folder: string, name: string): Promise<KeyPair | undefined> {
  try {
    const [cert, key] = await Promise.all(
      ["crt", "key"].map((extension) => readFile(path.join(folder, `${name}.${extension}`), "utf8")),
    );
    return { cert: cert!, key: key! };
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

async function writePair(folder: string, name: string, pair: KeyPair): Promise<void> {
  await writePrivate(path.join(folder, `${name}.key`), pair.key);
  await writePrivate(path.join(folder, `${name}.crt`), pair.cert);
}

/** Whole or not at all, and readable by nobody else. */
export async function writePrivate(file: string, text: string): Promise<void> {
  const temporary = `${file}.new`;
  await writeFile(temporary, text, { mode: 0o600 });
  await chmod(temporary, 0o600);
  await rename(temporary, file);
}
