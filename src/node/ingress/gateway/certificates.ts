import { createPrivateKey, X509Certificate } from "node:crypto";

const MAX_KNOWN = 256;
const known = new Map<string, boolean>();

/** Whether a Secret's data is a certificate with its key, in PEM. */
export function isCertificate(data: Readonly<Record<string, string>> | undefined): boolean {
  const [cert, key] = [data?.["tls.crt"], data?.["tls.key"]];
  if (!cert || !key) return false;
  const id = `${cert} ${key}`;
  let found = known.get(id);
  if (found === undefined) {
    found = belongTogether(Buffer.from(cert, "base64"), Buffer.from(key, "base64"));
    if (known.size >= MAX_KNOWN) known.clear();
    known.set(id, found);
  }
  return found;
}

function belongTogether(cert: Buffer, key: Buffer): boolean {
  try {
    return new X509Certificate(cert).checkPrivateKey(createPrivateKey(key));
  } catch {
    return false;
  }
}
