import assert from "node:assert/strict";
import { test } from "node:test";
import { recordNetlink } from "./rtnetlink.ts";

test("requests for another kernel are the messages that this one would get", () => {
  const [address, link] = recordNetlink((netlink) => {
    netlink.addAddress(3, "10.0.0.2/24");
    netlink.changeLink(3, { up: true });
  });
  // nlmsghdr (length 40, RTM_NEWADDR, request + ack + exclusive + create, sequence 1), ifaddrmsg (index 3), IFA_LOCAL, IFA_ADDRESS.
  assert.equal(
    address!.toString("hex"),
    "2800000014000506010000000000000002180000030000000800020" + "00a00000208000100" + "0a000002",
  );
  // RTM_SETLINK of index 3 with IFF_UP, and IFF_UP alone to be changed.
  assert.equal(link!.toString("hex"), "2000000013000500020000000000000000000000030000000100000001000000");
});

test("what would need an answer is refused", () => {
  assert.throws(() => recordNetlink((netlink) => (netlink as unknown as { links(): void }).links()), /cannot ask/);
});
