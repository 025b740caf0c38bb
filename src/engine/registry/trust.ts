import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import tls from "node:tls";

export interface Trust {
  readonly ca: string[];
  readonly cert: string | undefined;
  readonly key: string | undefined;
}

let common: string[] | undefined;

/** Node's own authorities, the host's trust store, and what `CERTS/HOST:PORT` adds (Docker's certs.d: *.crt, client *.cert with *.key). */
export function readTrust(certsDir: string | undefined, host: string): Trust {
  common ??= [...new Set([...tls.getCACertificates("default"), ...tls.getCACertificates("system")])];
  const folder = certsDir === undefined ? undefined : path.join(certsDir, path.basename(host));
  const names = folder !== undefined && existsSync(folder) ? readdirSync(folder) : [];
  const read = (name: string) => readFileSync(path.join(folder!, name), "utf8");
  const cert = names.find((name) => name.endsWith(".cert"));
  const key = cert === undefined ? undefined : names.find((name) => name === cert.replace(/\.cert$/, ".key"));
  return {
    ca: [...common, ...names.filter((name) => name.endsWith(".crt")).map(read)],
    cert: cert === undefined || key === undefined ? undefined : read(cert),
    key: key === undefined ? undefined : read(key),
  };
}
