import { unauthenticated } from "../../base/index.ts";
import { readJsonBody } from "./body.ts";
import type { Transport } from "./transport.ts";
import type { RegistryAuth } from "./types.ts";

export interface Challenge {
  /** Lower case: `basic`, `bearer`. */
  readonly scheme: string;
  readonly parameters: Readonly<Record<string, string>>;
}

/** A WWW-Authenticate header (RFC 9110, section 11.6.1) with one challenge, which is what registries send. */
export function parseChallenge(header: string | undefined): Challenge | undefined {
  const match = /^\s*([A-Za-z]+)\s*(.*)$/s.exec(header ?? "");
  if (!match) return undefined;
  const parameters: Record<string, string> = {};
  for (const [, name, quoted, plain] of match[2]!.matchAll(/([\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))/g))
    parameters[name!.toLowerCase()] = quoted?.replace(/\\(.)/g, "$1") ?? plain!;
  return { scheme: match[1]!.toLowerCase(), parameters };
}

/** Username and password, whichever way they were given. */
function credentialsOf(auth: RegistryAuth | undefined): { username: string; password: string } | undefined {
  if (auth?.username) return { username: auth.username, password: auth.password ?? "" };
  if (!auth?.auth) return undefined;
  const [username, ...password] = Buffer.from(auth.auth, "base64").toString("utf8").split(":");
  return { username: username!, password: password.join(":") };
}

/**
 * Turns a registry's challenge into an Authorization header: basic, or a bearer token from the authority that the registry names
 * (https://distribution.github.io/distribution/spec/auth/token/). Tokens are kept per scope for as long as this object lives.
 */
export class Authorizer {
  readonly #transport: Transport;
  readonly #auth: RegistryAuth | undefined;
  readonly #tokens = new Map<string, string>();

  constructor(transport: Transport, auth: RegistryAuth | undefined) {
    this.#transport = transport;
    this.#auth = auth;
  }

  /** What to send before being asked. */
  known(scope: string): string | undefined {
    return this.#auth?.registrytoken ? `Bearer ${this.#auth.registrytoken}` : this.#tokens.get(scope);
  }

  /** The header that answers `challenge`; `unauthenticated` when there is none to give. */
  async answer(
    challenge: Challenge,
    scope: string,
    host: string,
    insecure: boolean,
    signal?: AbortSignal,
  ): Promise<string> {
    const header =
      challenge.scheme === "basic"
        ? this.#basic(host)
        : challenge.scheme === "bearer"
          ? `Bearer ${await this.#token(challenge, scope, host, insecure, signal)}`
          : undefined;
    if (header === undefined)
      throw unauthenticated(`registry ${host} wants an unknown kind of login: ${challenge.scheme}`);
    this.#tokens.set(scope, header);
    return header;
  }

  #basic(host: string): string {
    const credentials = credentialsOf(this.#auth);
    if (!credentials) throw unauthenticated(`registry ${host} wants a login`, { hint: `docker login ${host}` });
    return `Basic ${Buffer.from(`${credentials.username}:${credentials.password}`).toString("base64")}`;
  }

  async #token(
    challenge: Challenge,
    scope: string,
    host: string,
    insecure: boolean,
    signal?: AbortSignal,
  ): Promise<string> {
    const { realm, service, scope: asked } = challenge.parameters;
    if (realm === undefined || !URL.canParse(realm))
      throw unauthenticated(`registry ${host} wants a token but doesn't say from where`);
    const answer = await this.#transport.send(
      this.#tokenRequest(new URL(realm), service, asked ?? scope, insecure, signal),
    );
    if (answer.status !== 200) {
      answer.body.destroy();
      const loggedIn = credentialsOf(this.#auth) !== undefined;
      throw unauthenticated(
        loggedIn
          ? `registry ${host} refused the user name or password`
          : `registry ${host} refused access: the image is private or doesn't exist`,
        { hint: `docker login ${host}` },
      );
    }
    const body = await readJsonBody<{ token?: string; access_token?: string }>(answer.body);
    const token = body.token ?? body.access_token;
    if (!token) throw unauthenticated(`the token service of registry ${host} gave no token`);
    return token;
  }

  #tokenRequest(url: URL, service: string | undefined, scope: string, insecure: boolean, signal?: AbortSignal) {
    if (this.#auth?.identitytoken) {
      const form = new URLSearchParams({
        grant_type: "refresh_token",
        client_id: "berth",
        refresh_token: this.#auth.identitytoken,
        scope,
      });
      if (service !== undefined) form.set("service", service);
      const headers = { "content-type": "application/x-www-form-urlencoded" };
      return { method: "POST", url, headers, body: Buffer.from(form.toString()), insecure, signal };
    }
    if (service !== undefined) url.searchParams.set("service", service);
    for (const one of scope.split(" ").filter((part) => part !== "")) url.searchParams.append("scope", one);
    const credentials = credentialsOf(this.#auth);
    const headers: Record<string, string> = credentials
      ? { authorization: `Basic ${Buffer.from(`${credentials.username}:${credentials.password}`).toString("base64")}` }
      : {};
    if (credentials) url.searchParams.set("account", credentials.username);
    return { method: "GET", url, headers, insecure, signal };
  }
}
