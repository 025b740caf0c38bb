import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { addressBytes, addressText, macBytes, macText, parseCidr } from "./address.ts";
import { attribute, attributes, decodeMessages, encodeMessage, nested, readText, text } from "./message.ts";

test("IPv6 text follows RFC 5952", () => {
  const cases: [string, string][] = [
    ["::", "::"],
    ["::1", "::1"],
    ["fd00:0:0:1::", "fd00:0:0:1::"],
    ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
    ["2001:0db8::0:1", "2001:db8::1"],
    ["::ffff:10.0.0.1", "::ffff:a00:1"],
  ];
  for (const [input, output] of cases) assert.equal(addressText(addressBytes(input)), output);
});

test("every address survives bytes to text to bytes", () => {
  const bytes = fc.oneof(
    fc.uint8Array({ minLength: 4, maxLength: 4 }),
    fc.uint8Array({ minLength: 16, maxLength: 16 }),
  );
  fc.assert(fc.property(bytes, (value) => addressBytes(addressText(value)).equals(value)));
});

test("what is no address is refused by name", () => {
  for (const bad of ["", "10.0.0", "10.0.0.256", "::1::", "fd00::/64"])
    assert.throws(() => addressBytes(bad), /not an IP/);
  for (const bad of ["10.0.0.1/33", "10.0.0.1/", "::1/129", "10.0.0.1/x"]) assert.throws(() => parseCidr(bad));
  assert.throws(() => macBytes("02:42"));
  assert.equal(macText(macBytes("02:42:ac:11:00:02")), "02:42:ac:11:00:02");
});

test("messages and attributes survive a round trip; cut ones are not read past their end", () => {
  const body = Buffer.concat([nested(18, [attribute(1, Buffer.from("veth"))]), attribute(3, text("eth0"))]);
  const encoded = encodeMessage(16, 5, 7, body);
  const [message] = decodeMessages(encoded);
  assert.equal(message!.sequence, 7);
  const found = attributes(message!.body);
  assert.equal(readText(found.get(3)), "eth0");
  assert.equal(readText(attributes(found.get(18)!).get(1)), "veth");
  for (let length = 0; length < encoded.length - 3; length++)
    assert.deepEqual(decodeMessages(encoded.subarray(0, length)), []);
});
