import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { bindChecked, systemErrno } from "../ffi/index.ts";
import { hasCode } from "../../base/index.ts";

const CLONE_NEWNET = 0x40000000;
const MS_BIND = 0x1000;
const MNT_DETACH = 2;

const setns = bindChecked("int setns(int fd, int nstype)");
const unshare = bindChecked("int unshare(int flags)");
const mount = bindChecked(
  "int mount(const char *source, const char *target, const char *type, unsigned long flags, void *data)",
);
const umount2 = bindChecked("int umount2(const char *target, int flags)");

/**
 * Network namespaces, pinned by a bind mount as `ip netns` does, so that they live without a process in them.
 *
 * Entering moves the JavaScript thread itself: everything between is synchronous, so nothing else can run in the wrong namespace. A netlink or inet
 * socket opened inside stays in that namespace for good.
 */
export interface NetnsHost {
  /** Makes a new namespace pinned at `pin`; one that is pinned there already is kept. `setup` runs inside a new one. */
  create(pin: string, setup?: () => void): void;
  /** Runs `task` inside the namespace pinned at `pin`. `task` must not return a promise. */
  enter<T>(pin: string, task: () => T): T;
  /** Opens the namespace: a descriptor for netlink's IFLA_NET_NS_FD, to be given back with `close`. */
  open(pin: string): number;
  close(fd: number): void;
  /** True while a namespace is pinned there. */
  exists(pin: string): boolean;
  /** Unpins; the kernel removes the namespace with its links once no process is in it. No error when it is not there. */
  remove(pin: string): void;
  /** Writes a value below /proc/sys of the namespace the thread is in. Missing ones are skipped when `optional`. */
  sysctl(name: string, value: string | number, optional?: boolean): void;
}

export class LinuxNetns implements NetnsHost {
  create(pin: string, setup?: () => void): void {
    if (this.exists(pin)) return;
    mkdirSync(path.dirname(pin), { recursive: true, mode: 0o711 });
    writeFileSync(pin, "");
    const own = openSync("/proc/thread-self/ns/net", "r");
    try {
      unshare(CLONE_NEWNET);
      try {
        mount("/proc/thread-self/ns/net", pin, "none", MS_BIND, null);
        setup?.();
      } finally {
        returnTo(own);
      }
    } catch (error) {
      this.remove(pin);
      throw error;
    } finally {
      closeSync(own);
    }
  }

  enter<T>(pin: string, task: () => T): T {
    const own = openSync("/proc/thread-self/ns/net", "r");
    const target = openSync(pin, "r");
    try {
      setns(target, CLONE_NEWNET);
      try {
        return task();
      } finally {
        returnTo(own);
      }
    } finally {
      closeSync(target);
      closeSync(own);
    }
  }

  open(pin: string): number {
    return openSync(pin, "r");
  }

  close(fd: number): void {
    closeSync(fd);
  }

  /** A pin is a mount: it stands on another device than its directory. */
  exists(pin: string): boolean {
    try {
      return statSync(pin).dev !== statSync(path.dirname(pin)).dev;
    } catch {
      return false;
    }
  }

  remove(pin: string): void {
    while (existsSync(pin)) {
      try {
        umount2(pin, MNT_DETACH);
      } catch (error) {
        if (systemErrno(error) === "EINVAL" || hasCode(error, "notFound")) break;
        throw error;
      }
    }
    rmSync(pin, { force: true });
  }

  sysctl(name: string, value: string | number, optional = false): void {
    const file = `/proc/sys/${name}`;
    try {
      if (readFileSync(file, "latin1").trim() !== String(value)) writeFileSync(file, String(value));
    } catch (error) {
      if (!optional) throw error;
    }
  }
}

/** Being left in a foreign namespace would send everything that follows astray: nothing sensible can be done but stop. */
function returnTo(own: number): void {
  try {
    setns(own, CLONE_NEWNET);
  } catch (error) {
    process.stderr.write(`cannot return to the own network namespace: ${String(error)}\n`);
    process.abort();
  }
}
