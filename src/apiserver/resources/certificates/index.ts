import type { k8s } from "../../../api/index.ts";
import { ageColumn, humanDuration, nameColumn, text } from "../shared/columns.ts";
import type { FieldError } from "../../machinery/kind.ts";
import { deepEqual, duplicate, invalid, notSupported, required } from "../shared/field-errors.ts";
import type { GroupKinds } from "../shared/peculiarities.ts";

type Request = k8s.CertificateSigningRequest;

export const certificatesKinds: GroupKinds = {
  certificatesigningrequests: {
    shortNames: ["csr"],
    fillDefaults(object) {
      const spec = (object as Request).spec;
      if (spec !== undefined) spec.usages ??= ["digital signature", "key encipherment"];
    },
    /** Who asks is the server's to say, never the client's. */
    prepareForCreate(object, { user }) {
      const spec = ((object as Request).spec ??= {} as k8s.CertificateSigningRequestSpec);
      spec.username = user.name;
      spec.groups = [...user.groups];
      spec.uid = user.uid;
      spec.extra = user.extra === undefined ? undefined : (structuredClone(user.extra) as Record<string, string[]>);
      for (const field of ["uid", "extra"] as const) if (spec[field] === undefined) delete spec[field];
    },
    prepareForUpdate(object, old, { subresource }) {
      const [now, before] = [object as Request, old as Request];
      now.spec = before.spec;
      if (subresource === "approval") now.status = { ...before.status, conditions: now.status?.conditions };
    },
    updateSubresources: ["approval"],
    validate(object) {
      const { spec } = object as Request;
      const errors = [];
      if (!spec?.request) errors.push(required("spec.request"));
      else if (!Buffer.from(spec.request, "base64").toString().includes("-----BEGIN CERTIFICATE REQUEST-----"))
        errors.push(invalid("spec.request", spec.request, "PEM block type must be CERTIFICATE REQUEST"));
      if (!spec?.signerName) errors.push(required("spec.signerName"));
      else if (!/^[^/]+\/.+$/.test(spec.signerName))
        errors.push(
          invalid(
            "spec.signerName",
            spec.signerName,
            "must be a fully qualified domain and path of the form 'example.com/signer-name'",
          ),
        );
      else if (spec.signerName === "kubernetes.io/legacy-unknown")
        errors.push(
          invalid("spec.signerName", spec.signerName, "the legacy signerName is not allowed via this API version"),
        );
      errors.push(...validateUsages(spec?.usages ?? []));
      const seconds = spec?.expirationSeconds;
      if (seconds !== undefined && seconds < 600)
        errors.push(
          invalid("spec.expirationSeconds", seconds, "may not specify a duration less than 600 seconds (10 minutes)"),
        );
      return errors;
    },
    validateUpdate: (object, old) =>
      deepEqual((object as Request).spec, (old as Request).spec)
        ? []
        : [invalid("spec", (object as Request).spec, "field is immutable")],
    selectableFields: { "spec.signerName": (object) => (object as Request).spec?.signerName ?? "" },
    columns: [
      nameColumn,
      ageColumn,
      text<Request>("SignerName", ({ spec }) => spec.signerName || "<none>"),
      text<Request>("Requestor", ({ spec }) => spec.username ?? ""),
      text<Request>("RequestedDuration", ({ spec }) =>
        spec.expirationSeconds === undefined ? "<none>" : humanDuration(spec.expirationSeconds * 1000),
      ),
      text<Request>("Condition", conditionOf),
    ],
  },
};

/** What a certificate can be for: RFC 5280's key usages and the extended ones, by cfssl's names, in the order of errors. */
const USAGES = [
  "any",
  "cert sign",
  "client auth",
  "code signing",
  "content commitment",
  "crl sign",
  "data encipherment",
  "decipher only",
  "digital signature",
  "email protection",
  "encipher only",
  "ipsec end system",
  "ipsec tunnel",
  "ipsec user",
  "key agreement",
  "key encipherment",
  "microsoft sgc",
  "netscape sgc",
  "ocsp signing",
  "s/mime",
  "server auth",
  "signing",
  "timestamping",
];

function validateUsages(usages: readonly string[]): FieldError[] {
  if (usages.length === 0) return [required("spec.usages")];
  return usages.flatMap((usage, index) => [
    ...(USAGES.includes(usage) ? [] : [notSupported(`spec.usages[${index}]`, usage, USAGES)]),
    ...(usages.indexOf(usage) < index ? [duplicate(`spec.usages[${index}]`, usage)] : []),
  ]);
}

function conditionOf({ status }: Request): string {
  const has = (type: string) => status?.conditions?.some((condition) => condition.type === type) === true;
  const words = [has("Denied") ? "Denied" : has("Approved") ? "Approved" : "Pending"];
  if (has("Failed")) words.push("Failed");
  if (status?.certificate) words.push("Issued");
  return words.join(",");
}
