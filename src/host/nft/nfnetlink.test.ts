import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeNft, nftAddress, nftKey, nftPort, nftProtocol } from "./index.ts";
import { encodeChanges } from "./nfnetlink.ts";

const key = nftKey(nftProtocol("tcp"), nftPort(5000));
const value = nftKey(nftAddress("10.0.0.2"), nftPort(80));

test("a concatenation pads each part to a register", () => {
  assert.equal(key.toString("hex"), "0600000013880000");
  assert.equal(value.toString("hex"), "0a00000200500000");
});

test("changes are framed as one transaction with elements nested in lists", () => {
  const messages = encodeChanges("inet", "t", [{ op: "add", set: "s", elements: [{ key, value }] }]);
  assert.deepEqual(
    messages.map((message) => [message.type, message.ack]),
    [
      [0x10, false],
      [0x0a0c, true],
      [0x11, false],
    ],
  );
  const hex = messages[1]!.body.toString("hex");
  assert.ok(hex.includes(key.toString("hex")) && hex.includes(value.toString("hex")));
});

test("a long list is split so that no attribute passes 64 KiB", () => {
  const elements = Array.from({ length: 5000 }, (_, port) => ({
    key: nftKey(nftProtocol("tcp"), nftPort(port)),
    value,
  }));
  const messages = encodeChanges("inet", "t", [{ op: "add", set: "s", elements }]);
  assert.ok(messages.length > 5);
  assert.ok(messages.every((message) => message.body.length < 65_536));
});

test("the fake is all or nothing, as the kernel is", async () => {
  const nft = new FakeNft();
  await nft.load("table inet t {\n}\n");
  nft.change("inet", "t", [{ op: "add", set: "s", elements: [{ key, value }] }]);
  const other = nftKey(nftProtocol("udp"), nftPort(1));
  assert.throws(() =>
    nft.change("inet", "t", [
      { op: "delete", set: "s", elements: [{ key }] },
      { op: "delete", set: "s", elements: [{ key: other }] },
    ]),
  );
  assert.equal(nft.elements("inet", "t", "s").length, 1);
});
