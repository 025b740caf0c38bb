/**
 * Git repositories as sources: `ADD https://host/repo.git#ref:subdir /dst`, and `remote` of POST /build. Fetched by the git program, shallow, with
 * submodules, without prompts, hooks or the user's configuration.
 * https://docs.docker.com/reference/dockerfile/#adding-files-from-a-git-repository
 */
import fs from "node:fs";
import path from "node:path";
import { hasCode, invalidArgument, notImplemented, unavailable } from "../../../base/index.ts";
import { run } from "../../../host/index.ts";
import { lstat, resolveInRoot } from "./tree.ts";

export interface GitSource {
  readonly url: string;
  /** Branch, tag or commit; the repository's HEAD without it. */
  readonly ref: string;
  readonly subdirectory: string;
}

export function isGit(source: string): boolean {
  return /^(?:git|ssh):\/\/|^git@[^/]+:|^https?:\/\/[^?#]+\.git(?:#.*)?$|^(?:https?:\/\/)?github\.com\/[^/]+\/[^/#]+(?:#.*)?$/i.test(
    source,
  );
}

/** Throws invalidArgument for what git would take for an option or a command. */
function parseGit(source: string): GitSource {
  const [location = "", fragment = ""] = source.split("#", 2);
  const colon = fragment.indexOf(":");
  const ref = (colon < 0 ? fragment : fragment.slice(0, colon)) || "HEAD";
  const subdirectory = colon < 0 ? "" : fragment.slice(colon + 1);
  const url = location.startsWith("github.com/") ? `https://${location}` : location;
  if (url.startsWith("-") || ref.startsWith("-") || /[\s\0]/.test(url + ref))
    throw invalidArgument(`not a git repository: ${source}`);
  return { url, ref, subdirectory };
}

const FETCH_TIMEOUT_MS = 10 * 60_000;

/** Protocols that git may speak; `file` and `ext` would reach into this machine. */
const PROTOCOLS = "https:http:git:ssh";

/** Checks the repository out below `directory`; answers with the directory meant. Errors: unavailable, invalidArgument, notImplemented without git. */
export async function fetchGit(
  source: string,
  directory: string,
  options: { keepGitDir: boolean; signal: AbortSignal },
): Promise<string> {
  const { url, ref, subdirectory } = parseGit(source);
  const git = async (...args: string[]): Promise<string> => {
    const argv = ["git", "-C", directory, "-c", "core.hooksPath=/dev/null", "-c", "protocol.version=2", ...args];
    const result = await run(argv, { env: gitEnvironment(), timeoutMs: FETCH_TIMEOUT_MS, signal: options.signal });
    if (result.code !== 0)
      throw unavailable(`git ${args[0]} of ${url} failed: ${result.stderr.trim().split("\n").at(-1) ?? ""}`);
    return result.stdout.trim();
  };
  try {
    await git("init", "--quiet");
  } catch (error) {
    if (!hasCode(error, "notFound")) throw error;
    throw notImplemented("git repositories cannot be fetched here: there is no program git", {
      cause: error,
      hint: "Install git.",
    });
  }
  await git("fetch", "--quiet", "--depth=1", "--no-tags", "--", url, ref);
  await git("checkout", "--quiet", "--detach", "FETCH_HEAD");
  if (lstat(path.join(directory, ".gitmodules"))?.isFile()) {
    // Submodules may be named relative to where the repository came from.
    await git("remote", "add", "origin", url);
    await git("submodule", "--quiet", "update", "--init", "--recursive", "--depth=1");
  }
  if (!options.keepGitDir) removeGitDirs(directory);
  const root = path.join(directory, resolveInRoot(directory, subdirectory));
  if (!lstat(root)?.isDirectory()) throw invalidArgument(`${source}: the repository has no directory ${subdirectory}`);
  return root;
}

/** The repository's own and those of submodules, which are files that point into it. Nothing else can have that name in a checkout. */
function removeGitDirs(directory: string): void {
  fs.rmSync(path.join(directory, ".git"), { recursive: true, force: true });
  const names = fs.readdirSync(directory, { recursive: true, encoding: "utf8" });
  for (const name of names.filter((each) => path.basename(each) === ".git"))
    fs.rmSync(path.join(directory, name), { recursive: true, force: true });
}

function gitEnvironment(): Record<string, string> {
  const kept = [
    "PATH",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSH_AUTH_SOCK",
  ];
  const inherited = Object.fromEntries(kept.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : [])));
  return {
    ...inherited,
    GIT_TERMINAL_PROMPT: "0",
    GIT_CONFIG_NOSYSTEM: "1",
    GIT_CONFIG_GLOBAL: "/dev/null",
    GIT_ALLOW_PROTOCOL: PROTOCOLS,
    GIT_LFS_SKIP_SMUDGE: "1",
  };
}
