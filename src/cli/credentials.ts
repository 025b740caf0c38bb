/**
 * The user's registry credentials, as the docker CLI keeps them: `config.json` with `auths`, one credential store (`credsStore`), and helpers for
 * single registries (`credHelpers`). Helpers are programs `docker-credential-NAME` (https://github.com/docker/docker-credential-helpers): asked
 * with `get`, they answer with `{"Username", "Secret"}`.
 */
import { existsSync, readFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { errnoOf, failedPrecondition, invalidArgument } from "../base/index.ts";

/** What the Docker API's X-Registry-Auth header carries. */
export interface Credentials {
  readonly username?: string;
  readonly password?: string;
  readonly identitytoken?: string;
  readonly serveraddress: string;
}

interface DockerConfig {
  readonly auths?: Readonly<Record<string, StoredAuth>>;
  readonly credsStore?: string;
  readonly credHelpers?: Readonly<Record<string, string>>;
}

interface StoredAuth {
  readonly auth?: string;
  readonly username?: string;
  readonly password?: string;
  readonly identitytoken?: string;
}

/** Docker Hub's name in that file. */
const HUB = "https://index.docker.io/v1/";
const HELPER_TIMEOUT_MS = 30_000;
/** The user name under which helpers keep an identity token. */
const TOKEN_USER = "<token>";

/** The registry that an image's name means, as config.json names it. */
export function registryOf(image: string): string {
  const first = image.split("/")[0]!;
  const isHost = image.includes("/") && (/[.:]/.test(first) || first === "localhost");
  return !isHost || first === "docker.io" ? HUB : first;
}

/** Undefined when there are none. Errors name the helper and what it said; a helper that says it has nothing is no error. */
export async function credentialsFor(
  registry: string,
  env: NodeJS.ProcessEnv = process.env,
): Promise<Credentials | undefined> {
  const config = readConfig(env);
  const helper = config.credHelpers?.[registry] ?? config.credsStore;
  return helper ? askHelper(helper, registry, env) : storedCredentials(config, registry);
}

/**
 * All that a build may need, by registry: what is stored, and what helpers of single registries have. A helper that fails is passed over, as
 * with docker: most builds need none of them.
 */
export async function allCredentials(env: NodeJS.ProcessEnv = process.env): Promise<Record<string, Credentials>> {
  const config = readConfig(env);
  const found: Record<string, Credentials> = {};
  for (const registry of new Set([...Object.keys(config.auths ?? {}), ...Object.keys(config.credHelpers ?? {})])) {
    const credentials = await credentialsFor(registry, env).catch(() => undefined);
    if (credentials) found[registry] = credentials;
  }
  return found;
}

/** base64url, as the API's headers want it. */
export function encodeHeader(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}

function readConfig(env: NodeJS.ProcessEnv): DockerConfig {
  const folder = env["DOCKER_CONFIG"] ?? path.join(env["HOME"] ?? os.homedir(), ".docker");
  const file = path.join(folder, "config.json");
  try {
    return JSON.parse(readFileSync(file, "utf8")) as DockerConfig;
  } catch (error) {
    if (errnoOf(error) === "ENOENT" || errnoOf(error) === "ENOTDIR") return {};
    throw invalidArgument(`${file} is no readable JSON document`, { cause: error, hint: "mend or remove it" });
  }
}

function storedCredentials({ auths }: DockerConfig, registry: string): Credentials | undefined {
  const stored = auths?.[registry] ?? auths?.[`https://${registry}`] ?? auths?.[`http://${registry}`];
  if (!stored) return undefined;
  const { identitytoken } = stored;
  const [name, ...rest] = Buffer.from(stored.auth ?? "", "base64")
    .toString("utf8")
    .split(":");
  const username = stored.username ?? name;
  if (!username && !identitytoken) return undefined;
  const password = stored.password ?? rest.join(":").replace(/\0+$/, "");
  return { username, password, serveraddress: registry, ...(identitytoken && { identitytoken }) };
}

async function askHelper(name: string, registry: string, env: NodeJS.ProcessEnv): Promise<Credentials | undefined> {
  const program = `docker-credential-${name}`;
  if (!/^[\w.-]+$/.test(name)) throw invalidArgument(`"${name}" is no name of a credential helper`);
  const file = (env["PATH"] ?? "")
    .split(path.delimiter)
    .map((folder) => path.join(folder, program))
    .find((candidate) => existsSync(candidate));
  if (file === undefined)
    throw failedPrecondition(`the credential helper ${program} is not installed`, {
      hint: "install it, or take credsStore and credHelpers out of docker's config.json",
    });
  const { run } = await import("../host/index.ts");
  const call = { input: registry, timeoutMs: HELPER_TIMEOUT_MS, env: env as Record<string, string> };
  const answer = await run([file, "get"], call);
  if (answer.code !== 0) {
    const said = (answer.stdout + answer.stderr).trim();
    if (/credentials not found/i.test(said)) return undefined;
    throw failedPrecondition(`the credential helper ${program} failed: ${said || `exit code ${answer.code}`}`);
  }
  return parseAnswer(program, answer.stdout, registry);
}

function parseAnswer(program: string, text: string, registry: string): Credentials | undefined {
  let answer: { Username?: unknown; Secret?: unknown };
  try {
    answer = JSON.parse(text) as typeof answer;
  } catch (error) {
    throw failedPrecondition(`the credential helper ${program} answered with something that is no JSON`, {
      cause: error,
    });
  }
  const { Username: username, Secret: secret } = answer;
  if (typeof username !== "string" || typeof secret !== "string") return undefined;
  return username === TOKEN_USER
    ? { identitytoken: secret, serveraddress: registry }
    : { username, password: secret, serveraddress: registry };
}
