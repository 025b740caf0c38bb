import { invalidArgument } from "../../base/index.ts";
import { isDigest, type Digest } from "../content/index.ts";

/**
 * A name of an image (https://github.com/distribution/reference): `[host[:port]/]path[:tag][@digest]`. Normalised: `busybox` is
 * `docker.io/library/busybox`, and without tag and digest the tag is `latest`.
 */
export interface Reference {
  /** `docker.io`, `localhost:5000`. */
  readonly domain: string;
  /** `library/busybox`. */
  readonly path: string;
  readonly tag: string | undefined;
  readonly digest: Digest | undefined;
}

const DEFAULT_DOMAIN = "docker.io";
const COMPONENT = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const DOMAIN =
  /^(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?$/;
const TAG = /^\w[\w.-]{0,127}$/;
const MAX_NAME = 255;

/** `invalidArgument`, in Docker's words, for what is no name. */
export function parseReference(text: string): Reference {
  const bad = (why: string) => invalidArgument(`invalid reference format: ${why}: "${text.slice(0, 300)}"`);
  const at = text.indexOf("@");
  const digest = at < 0 ? undefined : text.slice(at + 1);
  if (digest !== undefined && !isDigest(digest)) throw bad("the digest must be sha256: and 64 hex digits");
  const named = at < 0 ? text : text.slice(0, at);
  const colon = named.lastIndexOf(":");
  const hasTag = colon > named.lastIndexOf("/");
  const tag = hasTag ? named.slice(colon + 1) : undefined;
  if (tag !== undefined && !TAG.test(tag))
    throw bad("the tag may have 128 letters, digits, dots, dashes and underscores");
  const { domain, path } = splitDomain(hasTag ? named.slice(0, colon) : named);
  if (!DOMAIN.test(domain)) throw bad("the registry's host name is not one");
  if (/[A-Z]/.test(path)) throw bad("repository name must be lowercase");
  if (!path.split("/").every((component) => COMPONENT.test(component))) throw bad("the repository's name is not one");
  if (domain.length + path.length >= MAX_NAME) throw bad(`the repository's name is longer than ${MAX_NAME}`);
  if (domain === DEFAULT_DOMAIN && isDigest(`sha256:${path.replace(/^library\//, "")}`))
    throw bad("a name can't be 64 hex digits, that is an id");
  return { domain, path, tag: tag ?? (digest === undefined ? "latest" : undefined), digest };
}

function splitDomain(name: string): { domain: string; path: string } {
  const slash = name.indexOf("/");
  const first = slash < 0 ? "" : name.slice(0, slash);
  const isDomain = /[.:]/.test(first) || first === "localhost" || /[A-Z]/.test(first);
  const domain = isDomain ? first : DEFAULT_DOMAIN;
  const path = isDomain ? name.slice(slash + 1) : name;
  if (domain === "index.docker.io") return splitDomain(`${DEFAULT_DOMAIN}/${path}`);
  return { domain, path: domain === DEFAULT_DOMAIN && !path.includes("/") ? `library/${path}` : path };
}

/** `docker.io/library/busybox`. */
export function repositoryOf(reference: Reference): string {
  return `${reference.domain}/${reference.path}`;
}

/** As users write it: `busybox`. */
export function familiarRepository(reference: Pick<Reference, "domain" | "path">): string {
  if (reference.domain !== DEFAULT_DOMAIN) return `${reference.domain}/${reference.path}`;
  return reference.path.startsWith("library/") ? reference.path.slice("library/".length) : reference.path;
}

/** `busybox:latest`, `busybox@sha256:…`. */
export function familiarName(reference: Reference): string {
  const name = familiarRepository(reference);
  return reference.digest === undefined ? `${name}:${reference.tag}` : `${name}@${reference.digest}`;
}
