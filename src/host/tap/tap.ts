import { closeSync, openSync } from "node:fs";
import { bindChecked } from "../ffi/index.ts";

// Numbers of linux/if_tun.h.
const TUNSETIFF = 0x400454can;
const TUNSETPERSIST = 0x400454cbn;
const TUNSETOWNER = 0x400454ccn;
const IFF_TAP = 2;
const IFF_NO_PI = 0x1000;
const IFREQ_BYTES = 40;
const NAME_BYTES = 16;

const ioctlStruct = bindChecked("int ioctl(int fd, unsigned long request, void *argument)");
const ioctlNumber = bindChecked("int ioctl(int fd, unsigned long request, unsigned long argument)");

/** Makes a tap in the network namespace in which the thread is, which a user may open (https://docs.kernel.org/networking/tuntap.html). It stays until it is deleted. */
export function createTap(name: string, uid: number): void {
  const fd = openSync("/dev/net/tun", "r+");
  try {
    const request = Buffer.alloc(IFREQ_BYTES);
    request.write(name, 0, NAME_BYTES - 1, "latin1");
    request.writeUInt16LE(IFF_TAP | IFF_NO_PI, NAME_BYTES);
    ioctlStruct(fd, TUNSETIFF, request);
    ioctlNumber(fd, TUNSETOWNER, uid);
    ioctlNumber(fd, TUNSETPERSIST, 1);
  } finally {
    closeSync(fd);
  }
}
