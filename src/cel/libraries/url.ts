import type { Environment } from "@marcbachmann/cel-js";

class Url {
  readonly url: URL;
  /** As it was written: JavaScript leaves out a scheme's own port. */
  readonly host: string;
  constructor(text: string) {
    this.url = new URL(text);
    this.host = /^[^:]+:\/\/(?:[^/?#@]*@)?([^/?#]*)/.exec(text)?.[1] ?? "";
  }
  query(): Map<string, string[]> {
    const all = new Map<string, string[]>();
    for (const [key, value] of this.url.searchParams) all.set(key, [...(all.get(key) ?? []), value]);
    return all;
  }
}

/** https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-url-library */
export function addUrls(environment: Environment): Environment {
  return environment
    .registerType("kubernetes.URL", Url)
    .registerOperator("kubernetes.URL == kubernetes.URL", (a: Url, b: Url) => a.url.href === b.url.href)
    .registerFunction("url(string): kubernetes.URL", (text: string) => new Url(text))
    .registerFunction("isURL(string): bool", (text: string) => URL.canParse(text))
    .registerFunction("kubernetes.URL.getScheme(): string", ({ url }: Url) => url.protocol.slice(0, -1))
    .registerFunction("kubernetes.URL.getHost(): string", ({ host }: Url) => host)
    .registerFunction("kubernetes.URL.getHostname(): string", ({ url }: Url) => url.hostname.replace(/^\[|\]$/g, ""))
    .registerFunction("kubernetes.URL.getPort(): string", ({ host }: Url) => /:(\d+)$/.exec(host)?.[1] ?? "")
    .registerFunction("kubernetes.URL.getEscapedPath(): string", ({ url }: Url) => url.pathname)
    .registerFunction("kubernetes.URL.getQuery(): map", (url: Url) => url.query());
}
