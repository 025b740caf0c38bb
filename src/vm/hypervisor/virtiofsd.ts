/** The server of shared files (https://qemu.readthedocs.io/en/v7.2.0/tools/virtiofsd.html), over `/share` in its container. Pure. */
export function virtiofsdArgv(socket: string): string[] {
  return [
    "/usr/lib/qemu/virtiofsd",
    `--socket-path=${socket}`,
    "--rlimit-nofile=0",
    "--thread-pool-size=0",
    "-o",
    "source=/share,sandbox=chroot,cache=auto,xattr,announce_submounts,no_posix_lock",
  ];
}

/** What a server needs that makes files of any owner and mode, confined to the shared folder by its own chroot. */
export const VIRTIOFSD_CAPABILITIES: readonly string[] = [
  "CAP_CHOWN",
  "CAP_DAC_OVERRIDE",
  "CAP_FOWNER",
  "CAP_FSETID",
  "CAP_SETGID",
  "CAP_SETUID",
  "CAP_MKNOD",
  "CAP_SETFCAP",
  "CAP_SYS_CHROOT",
  // To drop what it does not need.
  "CAP_SETPCAP",
];
