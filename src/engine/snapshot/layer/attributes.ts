import { getAttribute, listAttributes, setAttribute } from "../../../host/index.ts";

/**
 * Whether an extended attribute is part of an image. overlayfs' own could redirect a directory to anywhere on the disk, and a label of SELinux is
 * the host's business: neither travels.
 */
function isImageAttribute(name: string): boolean {
  return !name.startsWith("trusted.") && !name.startsWith("user.overlay.") && name !== "security.selinux";
}

/** The extended attributes of a file that an image keeps (file capabilities, ACLs, `user.`), never those of what a link points at. */
export function imageAttributes(path: string): Record<string, Buffer> {
  const found: Record<string, Buffer> = {};
  for (const name of listAttributes(path).filter(isImageAttribute)) {
    const value = getAttribute(path, name);
    if (value) found[name] = Buffer.from(value);
  }
  return found;
}

/** Sets what an image may keep. Owner and mode must be set before: changing the owner takes capabilities away. */
export function setImageAttributes(path: string, attributes: Readonly<Record<string, Buffer>>): void {
  for (const [name, value] of Object.entries(attributes)) {
    if (!isImageAttribute(name)) continue;
    try {
      setAttribute(path, name, value);
    } catch (error) {
      // Disks without ACLs or user attributes: the file is still right in everything that decides access by mode.
      const errno = (error as { details?: { errno?: unknown } }).details?.errno;
      if (errno !== "EOPNOTSUPP" && errno !== "EPERM") throw error;
    }
  }
}
