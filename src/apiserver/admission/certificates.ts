import type { k8s } from "../../api/index.ts";
import { parseCertificateRequest } from "../certificates/request.ts";
import type { Admission, AdmissionRequest, Authorizer } from "../machinery/pipeline.ts";
import { deepEqual } from "../resources/shared/field-errors.ts";
import { isAllowed, isResource, refuse } from "./plugin.ts";

type Request = k8s.CertificateSigningRequest;
const group = "certificates.k8s.io";

/** Who approves or denies must be allowed to for that signer. */
export function certificateApproval(authorizers: readonly Authorizer[]): Admission {
  return {
    async validate(request) {
      if (isUpdateOf(request, "approval")) await assertMay(authorizers, request, "approve");
    },
  };
}

/** Who signs must be allowed to for that signer. */
export function certificateSigning(authorizers: readonly Authorizer[]): Admission {
  return {
    async validate(request) {
      if (isUpdateOf(request, "status") && isSigning(request)) await assertMay(authorizers, request, "sign");
    },
  };
}

/** Nobody asks for a certificate of `system:masters`. */
export const certificateSubjectRestriction: Admission = {
  async validate(request) {
    const { operation, subresource } = request;
    if (!isResource(request, group, "certificatesigningrequests")) return;
    if (operation === "CREATE" && subresource === "") await restrictSubject(request);
  },
};

const isUpdateOf = (request: AdmissionRequest, subresource: string): boolean =>
  isResource(request, group, "certificatesigningrequests") &&
  request.operation === "UPDATE" &&
  request.subresource === subresource;

async function assertMay(
  authorizers: readonly Authorizer[],
  request: AdmissionRequest,
  verb: "approve" | "sign",
): Promise<void> {
  const { signerName } = (request.oldObject as Request).spec;
  const names = [signerName, `${signerName.split("/", 1)[0]}/*`];
  for (const name of names)
    if (await isAllowed(authorizers, { user: request.user, verb, group, resource: "signers", name })) return;
  throw refuse(request, `user not permitted to ${verb} requests with signerName ${JSON.stringify(signerName)}`);
}

/** Whoever only keeps what is there may do so without the right to sign. */
function isSigning({ object, oldObject }: AdmissionRequest): boolean {
  const [now, old] = [object as Request, oldObject as Request];
  return (
    now.status?.certificate !== old.status?.certificate || !deepEqual(now.status?.conditions, old.status?.conditions)
  );
}

async function restrictSubject(request: AdmissionRequest): Promise<void> {
  const { spec } = request.object as Request;
  if (spec?.signerName !== "kubernetes.io/kube-apiserver-client") return;
  // What cannot be read is validation's to refuse.
  const parsed = await parseCertificateRequest(Buffer.from(spec.request ?? "", "base64").toString()).catch(
    () => undefined,
  );
  if (parsed?.organizations.includes("system:masters"))
    throw refuse(request, `use of ${spec.signerName} signer with system:masters group is not allowed`);
}
