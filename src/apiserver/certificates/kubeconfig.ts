import type { KeyPair } from "./authority.ts";

interface KubeconfigFacts {
  /** Of cluster, context and user. */
  readonly name: string;
  /** https://127.0.0.1:6443 */
  readonly server: string;
  readonly authorityCert: string;
  readonly client: KeyPair;
  readonly namespace?: string;
}

const base64 = (text: string): string => Buffer.from(text).toString("base64");

/** A kubeconfig with everything inside (https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/). Write it 0600. */
export function renderKubeconfig({ name, server, authorityCert, client, namespace }: KubeconfigFacts): string {
  return `apiVersion: v1
kind: Config
clusters:
- name: ${name}
  cluster:
    certificate-authority-data: ${base64(authorityCert)}
    server: ${server}
contexts:
- name: ${name}
  context:
    cluster: ${name}
    user: ${name}
${namespace === undefined ? "" : `    namespace: ${namespace}\n`}current-context: ${name}
preferences: {}
users:
- name: ${name}
  user:
    client-certificate-data: ${base64(client.cert)}
    client-key-data: ${base64(client.key)}
`;
}
