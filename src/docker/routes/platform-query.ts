import { invalidArgument } from "../../base/index.ts";
import { parsePlatform } from "../../engine/index.ts";
import type { DockerRequest } from "../route.ts";

type Platform = ReturnType<typeof parsePlatform>;

/** `platform`: `linux/arm64`, or its JSON form (API v1.48); undefined when absent. More than one is refused, as Docker does. */
export function platformOf({ query }: DockerRequest): Platform | undefined {
  const texts = query.all("platform").filter((text) => text !== "");
  if (texts.length > 1) throw invalidArgument("multiple platform parameters are not supported");
  return texts[0] === undefined ? undefined : parsePlatform(texts[0]);
}

/** `platforms` of a deletion (API v1.50): JSON forms, any number of them. */
export function platformsOf({ query }: DockerRequest): Platform[] {
  return query
    .all("platforms")
    .filter((text) => text !== "")
    .map((text) => parsePlatform(text));
}
