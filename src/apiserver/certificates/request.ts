import { createPublicKey } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { BerthError } from "../../base/index.ts";

const SUBJECT_ALT_NAME = "2.5.29.17";

/** What a certificate request (PKCS #10, RFC 2986) asks for. */
export interface ParsedRequest {
  readonly commonName: string;
  readonly organizations: readonly string[];
  readonly dnsNames: readonly string[];
  readonly ipAddresses: readonly string[];
  /** Email addresses and URIs, which none of our signers allows. */
  readonly otherNames: readonly string[];
  readonly publicKey: KeyObject;
}

/** Reads a PEM request and checks that its author holds the key. Throws invalidArgument. */
export async function parseCertificateRequest(pem: string): Promise<ParsedRequest> {
  await import("reflect-metadata");
  const { Pkcs10CertificateRequest, SubjectAlternativeNameExtension } = await import("@peculiar/x509");
  let request: InstanceType<typeof Pkcs10CertificateRequest>;
  try {
    request = new Pkcs10CertificateRequest(pem);
  } catch (error) {
    throw new BerthError("invalidArgument", "the certificate request cannot be read", { cause: error });
  }
  if (!(await request.verify().catch(() => false)))
    throw new BerthError("invalidArgument", "the certificate request is not signed with its own key");
  const found = request.getExtension(SUBJECT_ALT_NAME);
  const names = found instanceof SubjectAlternativeNameExtension ? found.names.items : [];
  const of = (type: string) => names.filter((name) => name.type === type).map(({ value }) => value);
  return {
    commonName: request.subjectName.getField("CN")[0] ?? "",
    organizations: request.subjectName.getField("O"),
    dnsNames: of("dns"),
    ipAddresses: of("ip"),
    otherNames: names.filter(({ type }) => type !== "dns" && type !== "ip").map(({ value }) => value),
    publicKey: createPublicKey({ key: Buffer.from(request.publicKey.rawData), format: "der", type: "spki" }),
  };
}
