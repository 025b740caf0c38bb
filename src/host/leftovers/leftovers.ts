import { existsSync, readdirSync } from "node:fs";
import path from "node:path";
import { cgroupLayout, hierarchyRoots } from "../cgroup/index.ts";
import { LinuxNetlinkHost } from "../netlink/index.ts";
import { LinuxNft } from "../nft/index.ts";

/** What the kernel still has under names that begin with an instance's (`kernelName`). */
export interface Leftovers {
  readonly links: readonly { readonly name: string; readonly index: number }[];
  /** Tables of nftables, of the family `inet`. */
  readonly tables: readonly string[];
  /** Directories of control groups at the top of each hierarchy. */
  readonly groups: readonly string[];
}

export function findLeftovers(prefix: string): Leftovers {
  using netlink = new LinuxNetlinkHost().open();
  const roots = hierarchyRoots(cgroupLayout()).filter((root) => existsSync(root));
  return {
    links: netlink.links().filter(({ name }) => name.startsWith(prefix)),
    tables: new LinuxNft().tables("inet").filter((table) => table.startsWith(prefix)),
    groups: roots.flatMap((root) =>
      readdirSync(root)
        .filter((name) => name.startsWith(prefix))
        .map((name) => path.join(root, name)),
    ),
  };
}
