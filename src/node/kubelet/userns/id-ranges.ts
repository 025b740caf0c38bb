import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { resourceExhausted } from "../../../base/index.ts";
import type { cri } from "../pod/imports.ts";

/** How many ids a Pod has; its own 0 to 65535. Upstream's. */
export const IDS_PER_POD = 65_536;
/** Above what distributions give to users (subuid), services and systemd's containers. */
const FIRST_RANGE = 30_000;
const LAST_RANGE = 32_767;
const FILE = "userns";

/** Which ids of the host each Pod with `hostUsers: false` has: no two the same. A range stands in the Pod's folder, and is free again when that goes. */
export class IdRanges {
  readonly #podsRoot: string;
  #last: Promise<unknown> = Promise.resolve();

  constructor(podsRoot: string) {
    this.#podsRoot = podsRoot;
  }

  /** The first of the Pod's ids on the host; always the same for one Pod. */
  of(podUid: string): Promise<number> {
    const next = this.#last.then(() => this.#find(podUid));
    this.#last = next.catch(() => {});
    return next;
  }

  async #find(podUid: string): Promise<number> {
    const known = await this.#read(podUid);
    if (known !== undefined) return known;
    const others = await readdir(this.#podsRoot).catch(() => []);
    const taken = new Set(await Promise.all(others.map((uid) => this.#read(uid))));
    for (let range = FIRST_RANGE; range < LAST_RANGE; range++) {
      const hostId = range * IDS_PER_POD;
      if (taken.has(hostId)) continue;
      await mkdir(path.join(this.#podsRoot, podUid), { recursive: true, mode: 0o711 });
      await writeFile(this.#file(podUid), String(hostId), { mode: 0o600 });
      return hostId;
    }
    throw resourceExhausted("all ranges of user ids for Pods with user namespaces are taken");
  }

  async #read(podUid: string): Promise<number | undefined> {
    const text = await readFile(this.#file(podUid), "utf8").catch(() => "");
    return /^\d+$/.test(text) ? Number(text) : undefined;
  }

  #file(podUid: string): string {
    return path.join(this.#podsRoot, podUid, FILE);
  }
}

export function usernsOptions(hostId: number): NonNullable<cri.NamespaceOptions["userns"]> {
  const mapping = { hostId, containerId: 0, length: IDS_PER_POD };
  return { mode: "POD", uids: [mapping], gids: [mapping] };
}
