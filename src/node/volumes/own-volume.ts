import type { k8s } from "../../api/index.ts";
import type { Contents } from "./contents.ts";
import { LOCAL_PROVISIONER, PROVISIONED_BY } from "./storage-class.ts";

export const VOLUME_PREFIX = "pvc-";

/**
 * Where a volume of this provisioner is on disk; undefined for any other. The path in the object could have been changed by a user: only the provisioner's own
 * naming is trusted.
 */
export function ownPath({ metadata, spec }: k8s.PersistentVolume, volumes: Pick<Contents, "path">): string | undefined {
  const name = metadata.name!;
  const path = volumes.path(name);
  const isOurs = metadata.annotations?.[PROVISIONED_BY] === LOCAL_PROVISIONER && name.startsWith(VOLUME_PREFIX);
  return isOurs && spec?.local?.path === path ? path : undefined;
}
