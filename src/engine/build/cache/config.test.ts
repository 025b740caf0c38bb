import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeCacheConfig, encodeCacheConfig } from "./config.ts";

const digest = (letter: string) => `sha256:${letter.repeat(64)}`;
const layer = (letter: string, parent: number | undefined) => ({
  digest: digest(letter),
  diffId: digest(letter),
  sizeBytes: 7,
  mediaType: "application/vnd.oci.image.layer.v1.tar+gzip",
  parent,
});

test("what is encoded is decoded again, in the form that BuildKit documents", () => {
  const config = {
    layers: [layer("a", undefined), layer("b", 0)],
    entries: [{ key: "c".repeat(64), layer: 1, description: "RUN x", createdAtMs: 1_700_000_000_000 }],
  };
  const bytes = encodeCacheConfig(config);
  assert.deepEqual(decodeCacheConfig(bytes), config);
  const document = JSON.parse(bytes.toString()) as { layers: { parent: number }[]; records: object[] };
  assert.equal(document.layers[0]!.parent, -1);
  assert.deepEqual(document.records[0], {
    layers: [{ layer: 1, createdAt: "2023-11-14T22:13:20.000Z" }],
    digest: digest("c"),
    description: "RUN x",
  });
});

test("links without a result are passed over; what is broken is refused", () => {
  const decode = (value: unknown) => decodeCacheConfig(Buffer.from(JSON.stringify(value)));
  assert.deepEqual(decode({ records: [{ digest: digest("a"), inputs: [[{ link: 0 }]] }] }).entries, []);
  assert.deepEqual(decode(null), { layers: [], entries: [] });
  const annotations = { mediaType: "x", diffID: digest("a"), size: 1 };
  for (const broken of [
    { layers: [{ blob: "sha256:no", parent: -1, annotations }] },
    { layers: [{ blob: digest("a"), parent: 0, annotations }] },
    { layers: [{ blob: digest("a"), parent: -1, annotations: { ...annotations, size: -1 } }] },
    { layers: 7 },
  ])
    assert.throws(() => decode(broken), { code: "invalidArgument" });
  assert.throws(() => decodeCacheConfig(Buffer.from("{")), { code: "invalidArgument" });
});
