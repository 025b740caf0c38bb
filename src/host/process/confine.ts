import { checked, libc } from "../ffi/index.ts";

const CLONE_FS = 0x200;

/**
 * Changes the root directory of this thread alone, for good: from here on, synchronous file calls of a worker thread see nothing outside, whatever
 * symlinks others put in their way. (Asynchronous ones run on other threads and see the old root: never use them afterwards.)
 */
export function confineThread(root: string): void {
  const chroot = libc("int chroot(const char *path)");
  const chdir = libc("int chdir(const char *path)");
  checked(libc("int unshare(int flags)")(CLONE_FS), "unshare");
  checked(chroot(root), `chroot ${root}`);
  checked(chdir("/"), "chdir");
  libc("unsigned int umask(unsigned int mask)")(0);
}
