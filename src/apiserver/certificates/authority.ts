import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  randomBytes,
  sign,
  X509Certificate,
} from "node:crypto";
import type { KeyObject } from "node:crypto";
import { isIPv4, isIPv6 } from "node:net";

import { bitString, boolean, explicit, implicit, integer, octetString, oid, sequence, set, time, utf8 } from "./der.ts";
import type { Der } from "./der.ts";

/** Certificates of a cluster (RFC 5280), ECDSA P-256 with SHA-256. */
export interface KeyPair {
  /** PEM. */
  readonly cert: string;
  /** PEM, PKCS#8. */
  readonly key: string;
}

export interface Subject {
  readonly commonName: string;
  /** Groups, to Kubernetes. */
  readonly organizations?: readonly string[];
}

interface CertificateRequest {
  readonly subject: Subject;
  /** Made anew when left out. */
  readonly publicKey?: KeyObject;
  readonly usages: readonly ("server" | "client")[];
  /** DNS names and IP addresses. */
  readonly names?: readonly string[];
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

const ecdsaWithSha256 = sequence(oid("1.2.840.10045.4.3.2"));
const usageOids = { server: "1.3.6.1.5.5.7.3.1", client: "1.3.6.1.5.5.7.3.2" } as const;
const dayMs = 86_400_000;
/** Clocks of other machines may be behind. */
const backdateMs = 5 * 60_000;
const authorityLifetimeMs = 3650 * dayMs;

/** Signs for one cluster. `pair` is what must be kept (the key 0600). */
export class CertificateAuthority {
  readonly pair: KeyPair;
  readonly #key: KeyObject;
  readonly #name: Der;
  readonly #keyId: Buffer;

  constructor(pair: KeyPair) {
    this.pair = pair;
    this.#key = createPrivateKey(pair.key);
    const certificate = new X509Certificate(pair.cert);
    const commonName = /CN=(.*)/.exec(certificate.subject)?.[1] ?? "";
    this.#name = encodeName({ commonName });
    this.#keyId = keyIdOf(certificate.publicKey);
  }

  static create(commonName: string, nowMs: number): CertificateAuthority {
    const { publicKey, privateKey } = newKey();
    const keyId = keyIdOf(publicKey);
    const name = encodeName({ commonName });
    const cert = signCertificate(privateKey, {
      issuer: name,
      subject: name,
      publicKey,
      notBeforeMs: nowMs - backdateMs,
      notAfterMs: nowMs + authorityLifetimeMs,
      extensions: [
        extension("2.5.29.19", true, sequence(boolean(true))),
        // digitalSignature, keyEncipherment, keyCertSign
        extension("2.5.29.15", true, bitString(Buffer.from([0xa4]), 2)),
        extension("2.5.29.14", false, octetString(keyId)),
      ],
    });
    return new CertificateAuthority({ cert, key: exportKey(privateKey) });
  }

  /** A certificate for a key of ours, made for it. */
  issue(request: Omit<CertificateRequest, "publicKey">): KeyPair {
    const { publicKey, privateKey } = newKey();
    return { cert: this.certify({ ...request, publicKey }), key: exportKey(privateKey) };
  }

  /** A certificate for somebody else's key. PEM. */
  certify(request: CertificateRequest & { readonly publicKey: KeyObject }): string {
    const usages = request.usages.map((usage) => oid(usageOids[usage]));
    const extensions = [
      extension("2.5.29.19", true, sequence()),
      // digitalSignature, keyEncipherment
      extension("2.5.29.15", true, bitString(Buffer.from([0xa0]), 5)),
      extension("2.5.29.37", false, sequence(...usages)),
      extension("2.5.29.35", false, sequence(implicit(0, this.#keyId))),
    ];
    const names = request.names ?? [];
    if (names.length > 0) extensions.push(extension("2.5.29.17", false, sequence(...names.map(encodeAltName))));
    return signCertificate(this.#key, {
      issuer: this.#name,
      subject: encodeName(request.subject),
      publicKey: request.publicKey,
      notBeforeMs: request.notBeforeMs - backdateMs,
      notAfterMs: request.notAfterMs,
      extensions,
    });
  }
}

const newKey = () => generateKeyPairSync("ec", { namedCurve: "P-256" });
const exportKey = (key: KeyObject): string => key.export({ type: "pkcs8", format: "pem" }) as string;
const spki = (key: KeyObject): Buffer =>
  (key.type === "private" ? createPublicKey(key) : key).export({ type: "spki", format: "der" }) as Buffer;
const keyIdOf = (key: KeyObject): Buffer => createHash("sha1").update(spki(key)).digest();

interface Tbs {
  readonly issuer: Der;
  readonly subject: Der;
  readonly publicKey: KeyObject;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly extensions: readonly Der[];
}

function signCertificate(key: KeyObject, tbs: Tbs): string {
  const serial = randomBytes(16);
  serial[0]! &= 0x7f;
  const body = sequence(
    explicit(0, integer(Buffer.from([2]))),
    integer(serial),
    ecdsaWithSha256,
    tbs.issuer,
    sequence(time(tbs.notBeforeMs), time(tbs.notAfterMs)),
    tbs.subject,
    spki(tbs.publicKey),
    explicit(3, sequence(...tbs.extensions)),
  );
  const der = sequence(body, ecdsaWithSha256, bitString(sign("sha256", body, key)));
  const lines = der.toString("base64").match(/.{1,64}/g)!;
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}

const encodeName = ({ commonName, organizations = [] }: Subject): Der =>
  sequence(
    ...organizations.map((name) => set(sequence(oid("2.5.4.10"), utf8(name)))),
    set(sequence(oid("2.5.4.3"), utf8(commonName))),
  );

const extension = (id: string, critical: boolean, value: Der): Der =>
  critical ? sequence(oid(id), boolean(true), octetString(value)) : sequence(oid(id), octetString(value));

function encodeAltName(name: string): Der {
  if (isIPv4(name)) return implicit(7, Buffer.from(name.split(".").map(Number)));
  if (isIPv6(name)) return implicit(7, encodeIpv6(name));
  return implicit(2, Buffer.from(name));
}

function encodeIpv6(address: string): Buffer {
  const [head = "", tail] = address.split("::");
  const words = (text: string) => (text === "" ? [] : text.split(":").map((word) => Number.parseInt(word, 16)));
  const left = words(head);
  const right = tail === undefined ? [] : words(tail);
  const all = [...left, ...Array.from({ length: 8 - left.length - right.length }, () => 0), ...right];
  return Buffer.from(all.flatMap((word) => [word >> 8, word & 0xff]));
}
