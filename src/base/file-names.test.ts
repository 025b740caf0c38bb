import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { decodeName, encodeName, nameBytes } from "./file-names.ts";

test("a name of any bytes comes back as those bytes", () => {
  const pieces = fc.oneof(
    fc.uint8Array({ maxLength: 12 }),
    fc.string({ unit: "grapheme", maxLength: 4 }).map((text) => new Uint8Array(Buffer.from(text))),
    fc.constantFrom(...["efbfbd", "eda080", "f09f98", "c0af", "f4908080"].map((hex) => Buffer.from(hex, "hex"))),
  );
  fc.assert(
    fc.property(fc.array(pieces, { maxLength: 5 }), (parts) => {
      const bytes = Buffer.concat(parts);
      assert.deepEqual(nameBytes(decodeName(bytes)), bytes);
    }),
    { seed: 2026 },
  );
});

test("UTF-8 names are plain text, others have one surrogate for each odd byte", () => {
  assert.equal(decodeName(Buffer.from("naïve \uFFFD 😀")), "naïve \uFFFD 😀");
  assert.equal(encodeName("naïve 😀"), "naïve 😀");
  assert.equal(decodeName(Buffer.from("caf\xe9/x", "latin1")), "caf\udce9/x");
  assert.deepEqual(encodeName("caf\udce9/x"), Buffer.from("caf\xe9/x", "latin1"));
  assert.equal("caf\udce9".toWellFormed(), "caf\uFFFD");
});
