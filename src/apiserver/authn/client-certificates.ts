import { X509Certificate } from "node:crypto";

import type { ApiRequest, UserInfo } from "../../api/index.ts";
import { unauthenticated } from "../../base/index.ts";
import type { Clock } from "../../base/index.ts";
import type { Authenticator } from "../machinery/pipeline.ts";

const remembered = 1000;
const clientAuth = "1.3.6.1.5.5.7.3.2";

interface Known {
  readonly user: UserInfo;
  readonly fromMs: number;
  readonly toMs: number;
}

/**
 * Common name = user, organizations = groups
 * (https://kubernetes.io/docs/reference/access-authn-authz/authentication/#x509-client-certificates). TLS has proved that the caller
 * holds the key; whether the certificate is one of ours is judged here, once per certificate.
 */
export class ClientCertificates implements Authenticator {
  readonly #roots: readonly X509Certificate[];
  readonly #clock: Clock;
  readonly #known = new Map<string, Known | undefined>();

  constructor(authorityCerts: readonly string[], clock: Clock) {
    this.#roots = authorityCerts.map((pem) => new X509Certificate(pem));
    this.#clock = clock;
  }

  authenticate(request: ApiRequest): UserInfo | undefined {
    const [der] = (request as { peerCertificates?: readonly Uint8Array[] }).peerCertificates ?? [];
    if (der === undefined) return undefined;
    const known = this.#find(Buffer.from(der));
    if (known === undefined) throw unauthenticated("Unauthorized");
    const nowMs = this.#clock.nowMs();
    if (nowMs < known.fromMs || nowMs > known.toMs) throw unauthenticated("Unauthorized");
    return known.user;
  }

  #find(der: Buffer): Known | undefined {
    const key = der.toString("base64");
    if (this.#known.has(key)) return this.#known.get(key);
    if (this.#known.size >= remembered) this.#known.clear();
    const known = this.#judge(new X509Certificate(der));
    this.#known.set(key, known);
    return known;
  }

  #judge(certificate: X509Certificate): Known | undefined {
    const issued = this.#roots.some((root) => certificate.checkIssued(root) && certificate.verify(root.publicKey));
    if (!issued || certificate.keyUsage?.includes(clientAuth) !== true) return undefined;
    const names = certificate.toLegacyObject().subject as unknown as Record<string, string | string[] | undefined>;
    const commonName = [names["CN"] ?? []].flat()[0];
    if (commonName === undefined) return undefined;
    const fingerprint = certificate.fingerprint256.replaceAll(":", "").toLowerCase();
    return {
      user: {
        name: commonName,
        groups: [names["O"] ?? []].flat(),
        extra: { "authentication.kubernetes.io/credential-id": [`X509SHA256=${fingerprint}`] },
      },
      fromMs: certificate.validFromDate.getTime(),
      toMs: certificate.validToDate.getTime(),
    };
  }
}
