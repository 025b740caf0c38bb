import { invalidArgument } from "../../base/index.ts";
import { isDns1123Subdomain } from "../../api/index.ts";

const reserved = ["k8s.io", "kubernetes.io"];
const path = /^[a-z0-9\-._~!$&'()*+,;=:@%/]+$/;

/** Names of a user's extra attributes: lower case, `domain/path`, each once, and nothing of Kubernetes' own. Throws invalidArgument. */
export function checkExtraKeys(keys: readonly string[], at: string): void {
  for (const [index, key] of keys.entries()) {
    const here = `${at}.extra[${index}].key`;
    const refuse = (why: string) => invalidArgument(`${here}: Invalid value: ${JSON.stringify(key)}: ${why}`);
    if (!key) throw invalidArgument(`${here}: Required value`);
    if (key !== key.toLowerCase()) throw refuse("key must be lowercase");
    if (keys.indexOf(key) < index) throw invalidArgument(`${here}: Duplicate value: ${JSON.stringify(key)}`);
    const slash = key.indexOf("/");
    const [domain, rest] = [key.slice(0, slash), key.slice(slash + 1)];
    if (slash <= 0 || rest === "") throw refuse('must be a domain-prefixed path (such as "acme.io/foo")');
    const [problem] = isDns1123Subdomain(domain);
    if (problem !== undefined) throw refuse(problem);
    if (!path.test(rest)) throw refuse("Invalid path");
    if (reserved.some((own) => domain === own || domain.endsWith(`.${own}`)))
      throw refuse("k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use");
  }
}
