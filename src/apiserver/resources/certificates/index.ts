import type { k8s } from "../../../api/index.ts";
import { ageColumn, humanDuration, nameColumn, text } from "../shared/columns.ts";
import { deepEqual, invalid, required } from "../shared/field-errors.ts";
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
      if ((spec?.usages ?? []).length === 0) errors.push(required("spec.usages"));
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

function conditionOf({ status }: Request): string {
  const has = (type: string) => status?.conditions?.some((condition) => condition.type === type) === true;
  const words = [has("Denied") ? "Denied" : has("Approved") ? "Approved" : "Pending"];
  if (has("Failed")) words.push("Failed");
  if (status?.certificate) words.push("Issued");
  return words.join(",");
}
