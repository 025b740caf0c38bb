import { checked, libc } from "../ffi/index.ts";

const CAPABILITY_VERSION_3 = 0x20080522;

/**
 * Lets this thread alone touch files as another user, with all of its capabilities (setfsuid(2) takes those over files away): what it makes
 * belongs to that user. Where the owners of a mount are mapped, root itself has no name and could make nothing. Give back with `using`.
 */
export function actAsFsUser(uid: number, gid: number): Disposable {
  const capget = libc("int capget(void *header, _Out_ void *data)");
  const capset = libc("int capset(void *header, void *data)");
  const setfsuid = libc("int setfsuid(unsigned int uid)");
  const setfsgid = libc("int setfsgid(unsigned int gid)");
  const header = Buffer.alloc(8);
  header.writeUInt32LE(CAPABILITY_VERSION_3, 0);
  const capabilities = Buffer.alloc(24);
  checked(capget(header, capabilities), "capget");
  const become = (user: number, group: number) => {
    setfsgid(group);
    setfsuid(user);
    checked(capset(header, capabilities), "capset");
  };
  become(uid, gid);
  return { [Symbol.dispose]: () => become(0, 0) };
}
