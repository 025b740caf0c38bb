import { invalidArgument } from "../base/index.ts";

/** Minor numbers of the Engine API's versions that we speak: v1.24 is the oldest that Docker's own daemon accepted in 28.x. */
export const MAX_API_MINOR = 50;
const MIN_API_MINOR = 24;
export const API_VERSION = `1.${MAX_API_MINOR}`;
export const MIN_API_VERSION = `1.${MIN_API_MINOR}`;

/** The Docker Engine whose API this is. Clients compare it, so it stands first in what we report; ours follows as build metadata. */
export const ENGINE_VERSION = "28.2.2";

/** `/v1.41/info` → minor 41 and `/info`; without a prefix the newest. Throws invalidArgument, in Docker's words, outside the range. */
export function splitVersion(path: string): { apiMinor: number; path: string } {
  const match = /^\/v([0-9]+)\.([0-9]+)(\/.*)$/.exec(path);
  if (!match) return { apiMinor: MAX_API_MINOR, path };
  const [, major, minor, rest = "/"] = match;
  const asked = `${major}.${minor}`;
  if (Number(major) < 1 || (major === "1" && Number(minor) < MIN_API_MINOR)) {
    throw invalidArgument(
      `client version ${asked} is too old. Minimum supported API version is ${MIN_API_VERSION}, please upgrade your client to a newer version`,
    );
  }
  if (Number(major) > 1 || Number(minor) > MAX_API_MINOR) {
    throw invalidArgument(`client version ${asked} is too new. Maximum supported API version is ${API_VERSION}`);
  }
  return { apiMinor: Number(minor), path: rest };
}
