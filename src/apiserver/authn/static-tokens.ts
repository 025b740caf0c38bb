import { createHash } from "node:crypto";

import type { ApiRequest, UserInfo } from "../../api/index.ts";
import { invalidArgument } from "../../base/index.ts";
import type { Authenticator } from "../machinery/pipeline.ts";
import { bearerToken } from "./bearer.ts";

/**
 * `--token-auth-file`: lines of `token,user,uid[,"group1,group2"]`
 * (https://kubernetes.io/docs/reference/access-authn-authz/authentication/#static-token-file).
 */
export class StaticTokens implements Authenticator {
  /** By digest, so that a look-up takes no longer for a guess that is nearly right. */
  readonly #users: ReadonlyMap<string, UserInfo>;

  constructor(text: string) {
    this.#users = new Map(parseTokenFile(text).map(({ token, user }) => [digest(token), user]));
  }

  authenticate(request: ApiRequest): UserInfo | undefined {
    const token = bearerToken(request);
    return token === undefined ? undefined : this.#users.get(digest(token));
  }
}

const digest = (token: string): string => createHash("sha256").update(token).digest("base64");

function parseTokenFile(text: string): { token: string; user: UserInfo }[] {
  return text.split("\n").flatMap((line, index) => {
    if (line.trim() === "" || line.startsWith("#")) return [];
    const [token = "", name, uid, groups = ""] = splitCsv(line.trim());
    if (name === undefined || uid === undefined)
      throw invalidArgument(
        `line ${index + 1} of the token file has too few columns: token, user name and user uid are required`,
      );
    if (token === "") return [];
    return [
      { token, user: { name, uid, groups: groups === "" ? [] : groups.split(",").map((group) => group.trim()) } },
    ];
  });
}

function splitCsv(line: string): string[] {
  return [...line.matchAll(/\s*(?:"((?:[^"]|"")*)"|([^,]*))(?:,|$)/g)]
    .filter((match) => match[0] !== "" || match.index < line.length)
    .map((match) => (match[1]?.replaceAll('""', '"') ?? match[2] ?? "").trim());
}
