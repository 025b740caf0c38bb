import { existsSync } from "node:fs";

/** Where a kubelet has its folder everywhere else. */
const USUAL = "/var/lib/kubelet";

/**
 * Manifests of node plugins name the kubelet's folder as it usually is, in hostPath volumes and in what they register. On this node it is another one; both
 * names mean it, unless a kubelet of somebody else's is at home there (ADR 163).
 */
export class UsualFolder {
  readonly #own: string;
  readonly #isOurs: boolean;

  constructor(own: string, isTaken = existsSync(`${USUAL}/pods`)) {
    this.#own = own;
    this.#isOurs = !isTaken;
  }

  /** Of whoever speaks in terms of the usual folder: answers are to be in the same terms. */
  has(path: string): boolean {
    return this.#isOurs && (path === USUAL || path.startsWith(`${USUAL}/`));
  }

  /** Where a path of a manifest is on this node. */
  toNode(path: string): string {
    return this.has(path) ? this.#own + path.slice(USUAL.length) : path;
  }

  /** How a path of this node's kubelet is called in its usual place. */
  toUsual(path: string): string {
    return path.startsWith(`${this.#own}/`) ? USUAL + path.slice(this.#own.length) : path;
  }
}
