import { eventsRule, read } from "./rules.ts";

/** A role in one namespace and whom it is bound to. */
export interface NamespacedRole {
  readonly namespace: "kube-system" | "kube-public";
  readonly name: string;
  readonly rules: readonly string[];
  /** The binding's name where it is not the role's. */
  readonly binding?: string;
  readonly users?: readonly string[];
  /** Service accounts in kube-system. */
  readonly accounts?: readonly string[];
}

const lock = (name: string): NamespacedRole => ({
  namespace: "kube-system",
  name: `system::leader-locking-${name}`,
  rules: ["watch - configmaps", `get,update - configmaps ${name}`],
  users: [`system:${name}`],
  accounts: [name],
});

export const namespacedRoles: readonly NamespacedRole[] = [
  {
    namespace: "kube-system",
    name: "extension-apiserver-authentication-reader",
    rules: [`${read} - configmaps extension-apiserver-authentication`],
    binding: "system::extension-apiserver-authentication-reader",
    users: ["system:kube-controller-manager", "system:kube-scheduler"],
  },
  {
    namespace: "kube-system",
    name: "system:controller:bootstrap-signer",
    rules: [`${read} - secrets`],
    accounts: ["bootstrap-signer"],
  },
  {
    namespace: "kube-system",
    name: "system:controller:cloud-provider",
    rules: [`create,${read} - configmaps`],
    accounts: ["cloud-provider"],
  },
  {
    namespace: "kube-system",
    name: "system:controller:token-cleaner",
    rules: [`delete,${read} - secrets`, eventsRule],
    accounts: ["token-cleaner"],
  },
  lock("kube-controller-manager"),
  lock("kube-scheduler"),
  {
    namespace: "kube-public",
    name: "system:controller:bootstrap-signer",
    rules: [`${read} - configmaps`, "update - configmaps cluster-info", eventsRule],
    accounts: ["bootstrap-signer"],
  },
];
