import type { k8s, KubeObject } from "../../../api/index.ts";
import type { FieldError } from "../../machinery/kind.ts";
import { ageColumn, createdAtColumn, nameColumn, text, wide } from "../shared/columns.ts";
import { deepEqual, forbidden, invalid, notSupported, required } from "../shared/field-errors.ts";
import { isPathSegment } from "../shared/names.ts";
import type { GroupKinds, Peculiarities } from "../shared/peculiarities.ts";

type Role = k8s.ClusterRole;
type Binding = k8s.ClusterRoleBinding;
const rbacGroup = "rbac.authorization.k8s.io";

const role: Peculiarities = {
  checkName: isPathSegment,
  validate: (object) => validateRules(object as Role),
  columns: [nameColumn, createdAtColumn],
};

const subjectNames = ({ subjects = [] }: Binding, kind: string): string =>
  subjects
    .filter((subject) => subject.kind === kind)
    .map(({ name, namespace }) => (kind === "ServiceAccount" ? `${namespace}/${name}` : name))
    .join(", ");

const binding: Peculiarities = {
  checkName: isPathSegment,
  fillDefaults(object) {
    const it = object as Binding;
    if (it.roleRef !== undefined && !it.roleRef.apiGroup) it.roleRef.apiGroup = rbacGroup;
    for (const subject of it.subjects ?? [])
      if (subject.kind === "User" || subject.kind === "Group") subject.apiGroup ||= rbacGroup;
  },
  validate: validateBinding,
  validateUpdate: (object, old) => [
    ...validateBinding(object),
    ...(deepEqual((object as Binding).roleRef, (old as Binding).roleRef)
      ? []
      : [invalid("roleRef", (object as Binding).roleRef, "cannot change roleRef")]),
  ],
  columns: [
    nameColumn,
    text<Binding>("Role", ({ roleRef }) => `${roleRef.kind}/${roleRef.name}`),
    ageColumn,
    wide(text<Binding>("Users", (object) => subjectNames(object, "User"))),
    wide(text<Binding>("Groups", (object) => subjectNames(object, "Group"))),
    wide(text<Binding>("ServiceAccounts", (object) => subjectNames(object, "ServiceAccount"))),
  ],
};

export const rbacKinds: GroupKinds = {
  clusterrolebindings: binding,
  clusterroles: role,
  rolebindings: binding,
  roles: role,
};

function validateRules(object: Role): FieldError[] {
  return (object.rules ?? []).flatMap((rule, index) => {
    const at = `rules[${index}]`;
    const errors: FieldError[] = [];
    if ((rule.verbs ?? []).length === 0) errors.push(required(`${at}.verbs`, "verbs must contain at least one value"));
    if ((rule.nonResourceURLs?.length ?? 0) > 0) {
      if (object.kind === "Role")
        errors.push(
          invalid(`${at}.nonResourceURLs`, rule.nonResourceURLs, "namespaced rules cannot apply to non-resource URLs"),
        );
      if ((rule.apiGroups?.length ?? 0) + (rule.resources?.length ?? 0) + (rule.resourceNames?.length ?? 0) > 0)
        errors.push(
          invalid(
            `${at}.nonResourceURLs`,
            rule.nonResourceURLs,
            "rules cannot apply to both regular resources and non-resource URLs",
          ),
        );
      return errors;
    }
    if ((rule.apiGroups ?? []).length === 0)
      errors.push(required(`${at}.apiGroups`, "resource rules must supply at least one api group"));
    if ((rule.resources ?? []).length === 0)
      errors.push(required(`${at}.resources`, "resource rules must supply at least one resource"));
    return errors;
  });
}

function validateBinding(object: KubeObject): FieldError[] {
  const { roleRef, subjects = [], kind } = object as Binding;
  const errors: FieldError[] = [];
  const kinds = kind === "ClusterRoleBinding" ? ["ClusterRole"] : ["ClusterRole", "Role"];
  if (roleRef?.apiGroup !== rbacGroup)
    errors.push(notSupported("roleRef.apiGroup", roleRef?.apiGroup ?? "", [rbacGroup]));
  if (!kinds.includes(roleRef?.kind)) errors.push(notSupported("roleRef.kind", roleRef?.kind ?? "", kinds));
  if (!roleRef?.name) errors.push(required("roleRef.name"));
  for (const [index, subject] of subjects.entries()) errors.push(...validateSubject(subject, `subjects[${index}]`));
  return errors;
}

function validateSubject(subject: k8s.Subject, at: string): FieldError[] {
  const errors: FieldError[] = [];
  if (!subject.name) errors.push(required(`${at}.name`));
  switch (subject.kind) {
    case "ServiceAccount":
      if (subject.apiGroup) errors.push(notSupported(`${at}.apiGroup`, subject.apiGroup, [""]));
      if (!subject.namespace) errors.push(required(`${at}.namespace`));
      break;
    case "User":
    case "Group":
      if (subject.apiGroup !== rbacGroup) errors.push(notSupported(`${at}.apiGroup`, subject.apiGroup, [rbacGroup]));
      if (subject.namespace) errors.push(forbidden(`${at}.namespace`, "not allowed on this type"));
      break;
    default:
      errors.push(notSupported(`${at}.kind`, subject.kind ?? "", ["Group", "ServiceAccount", "User"]));
  }
  return errors;
}
