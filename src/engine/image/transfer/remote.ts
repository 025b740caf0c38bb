import type { OciDescriptor, OciPlatform } from "../../../api/index.ts";
import { readBody, type RegistrySession } from "../../registry/index.ts";
import { isIndexType, parseConfig, parseIndex, parseManifest, platformOf } from "../manifest.ts";
import type { Reference } from "../reference.ts";

/** What a name stands for in its registry, and for which platforms. */
export async function inspectRemote(
  session: RegistrySession,
  reference: Reference,
  signal?: AbortSignal,
): Promise<{ descriptor: OciDescriptor; platforms: OciPlatform[] }> {
  const { descriptor, bytes } = await session.manifest(reference.digest ?? reference.tag!, signal);
  if (isIndexType(descriptor.mediaType)) {
    const platforms = parseIndex(bytes).manifests.flatMap((entry) => (entry.platform ? [entry.platform] : []));
    return { descriptor, platforms };
  }
  const { config } = parseManifest(bytes);
  const body = await session.blob(config.digest, signal);
  return { descriptor, platforms: [platformOf(parseConfig(await readBody(body)))] };
}
