import { BerthError } from "../../base/index.ts";
import type { Clock } from "../../base/index.ts";
import type { CertificateAuthority } from "./authority.ts";
import { parseCertificateRequest } from "./request.ts";
import type { ParsedRequest } from "./request.ts";

/** Upstream's --cluster-signing-duration. */
const maxLifetimeMs = 365 * 86_400_000;
/** https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#kubernetes-signers */
const client = ["client auth", "digital signature", "key encipherment"];
const server = ["server auth", "digital signature", "key encipherment"];

interface SignerRules {
  readonly usages: readonly string[] | undefined;
  /** Why the request's subject is not this signer's to certify. */
  refuse?(request: ParsedRequest): string | undefined;
}

const signers: Readonly<Record<string, SignerRules>> = {
  "kubernetes.io/kube-apiserver-client": { usages: client },
  "kubernetes.io/kube-apiserver-client-kubelet": {
    usages: client,
    refuse: (request) =>
      notOfNode(request) ?? (namesOf(request).length > 0 ? "subject alternative names are not allowed" : undefined),
  },
  "kubernetes.io/kubelet-serving": {
    usages: server,
    refuse: (request) => {
      if (request.otherNames.length > 0) return "only DNS names and IP addresses are allowed";
      return notOfNode(request) ?? (namesOf(request).length === 0 ? "a DNS name or IP address is required" : undefined);
    },
  },
  "kubernetes.io/legacy-unknown": { usages: undefined },
};

const namesOf = ({ dnsNames, ipAddresses, otherNames }: ParsedRequest) => [...dnsNames, ...ipAddresses, ...otherNames];

function notOfNode({ commonName, organizations }: ParsedRequest): string | undefined {
  if (organizations.length !== 1 || organizations[0] !== "system:nodes") return "the organization must be system:nodes";
  return commonName.startsWith("system:node:") ? undefined : "the common name must begin with system:node:";
}

export interface SigningRequest {
  readonly csrPem: string;
  readonly usages: readonly string[];
  readonly expirationSeconds: number | undefined;
  readonly signerName: string;
}

/** Kubernetes' own signers over the cluster's authority. */
export class ClusterSigner {
  readonly #authority: CertificateAuthority;
  readonly #clock: Clock;

  constructor(authority: CertificateAuthority, clock: Clock) {
    this.#authority = authority;
    this.#clock = clock;
  }

  /** The certificate's PEM. Throws invalidArgument when the signer does not certify such a request. */
  async sign({ csrPem, usages, expirationSeconds, signerName }: SigningRequest): Promise<string> {
    const rules = signers[signerName];
    if (!rules) throw new BerthError("invalidArgument", `there is no signer ${signerName}`);
    const strange = usages.find((usage) => rules.usages && !rules.usages.includes(usage));
    if (strange !== undefined)
      throw new BerthError("invalidArgument", `usage "${strange}" is not allowed by ${signerName}`);
    const request = await parseCertificateRequest(csrPem);
    const problem = rules.refuse?.(request);
    if (problem !== undefined) throw new BerthError("invalidArgument", problem);
    const nowMs = this.#clock.nowMs();
    const lifetimeMs = Math.min(
      expirationSeconds === undefined ? maxLifetimeMs : expirationSeconds * 1000,
      maxLifetimeMs,
    );
    return this.#authority.certify({
      subject: request,
      publicKey: request.publicKey,
      names: [...request.dnsNames, ...request.ipAddresses],
      usages: (["server", "client"] as const).filter((usage) => usages.includes(`${usage} auth`)),
      notBeforeMs: nowMs,
      notAfterMs: nowMs + lifetimeMs,
    });
  }
}
