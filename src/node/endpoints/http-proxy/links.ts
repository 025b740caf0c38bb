/** Which attributes of HTML carry an address, by element. https://html.spec.whatwg.org/multipage/indices.html#attributes-3 */
const ATTRIBUTES: Readonly<Record<string, readonly string[]>> = {
  a: ["href"],
  applet: ["codebase"],
  area: ["href"],
  audio: ["src"],
  base: ["href"],
  blockquote: ["cite"],
  body: ["background"],
  button: ["formaction"],
  command: ["icon"],
  del: ["cite"],
  embed: ["src"],
  form: ["action"],
  frame: ["longdesc", "src"],
  head: ["profile"],
  html: ["manifest"],
  iframe: ["longdesc", "src"],
  img: ["longdesc", "src", "usemap"],
  input: ["formaction", "src"],
  ins: ["cite"],
  link: ["href"],
  object: ["classid", "codebase", "data", "usemap"],
  q: ["cite"],
  script: ["src"],
  source: ["src"],
  video: ["poster", "src"],
};

/** What an address on a proxied page is relative to. */
export interface Place {
  /** Path of the proxy, without a slash at its end. */
  readonly prefix: string;
  /** Host (and port) of the page's own server, and the one that the client asked for. */
  readonly hosts: readonly string[];
}

/** An address of the page as the client can follow it: absolute paths of the page's server lead through the proxy. */
export function throughProxy(address: string, { prefix, hosts }: Place): string {
  const [, host, rest] = /^(?:https?:)?\/\/([^/?#]*)(.*)$/i.exec(address) ?? [];
  if (host !== undefined && !hosts.includes(host)) return address;
  const path = host === undefined ? address : rest || "/";
  if (!path.startsWith("/") || path === prefix || path.startsWith(`${prefix}/`)) return address;
  return prefix + path;
}

/** A page whose links lead through the proxy. Only start tags change; comments and scripts are left alone. */
export function rewriteLinks(html: string, place: Place): string {
  return html.replace(TAGS, (tag, name: string | undefined) => {
    const attributes = name === undefined ? undefined : ATTRIBUTES[name.toLowerCase()];
    if (!attributes) return tag;
    return tag.replace(ATTRIBUTE, (whole: string, key: string, quoted: string) => {
      if (!attributes.includes(key.toLowerCase())) return whole;
      const quote = quoted[0] === "'" || quoted[0] === '"' ? quoted[0] : "";
      const value = quote ? quoted.slice(1, -1) : quoted;
      const followed = throughProxy(value, place);
      return followed === value
        ? whole
        : whole.slice(0, whole.length - quoted.length) + (quote || '"') + followed + (quote || '"');
    });
  });
}

/** Comments, then what scripts and styles contain (after their own tag), then start tags. */
const TAGS =
  /<!--[\s\S]*?-->|(?<=<(?:script|style)\b[^>]*>)[\s\S]*?(?=<\/(?:script|style))|<([a-z][a-z0-9]*)(?:\s+(?:"[^"]*"|'[^']*'|[^"'>])*)?>/gi;
const ATTRIBUTE = /\s([a-z-]+)\s*=\s*("[^"]*"|'[^']*'|[^\s"'>]+)/gi;
