import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parseConfig, parseIndex, parseManifest } from "./manifest.ts";

const RUNS = Number(process.env["BERTH_FUZZ_RUNS"] ?? 300);
const digest = `sha256:${"a".repeat(64)}`;
const descriptor = { mediaType: "application/vnd.oci.image.layer.v1.tar", digest, size: 1 };
const manifest = { schemaVersion: 2, config: descriptor, layers: [descriptor] };
const index = { schemaVersion: 2, manifests: [{ ...descriptor, platform: { os: "linux", architecture: "amd64" } }] };
const config = { os: "linux", architecture: "amd64", rootfs: { type: "layers", diff_ids: [digest] } };
const parsers = [parseManifest, parseIndex, parseConfig];
const bytesOf = (value: unknown) => Buffer.from(JSON.stringify(value) ?? "");

test("good documents are taken", () => {
  assert.equal(parseManifest(bytesOf(manifest)).layers.length, 1);
  assert.equal(parseIndex(bytesOf(index)).manifests.length, 1);
  assert.equal(parseConfig(bytesOf(config), 1).rootfs.diff_ids.length, 1);
});

test("whatever stands in a document, it is taken or refused as invalid", () => {
  const refusedOrTaken = (bytes: Buffer) => {
    for (const parse of parsers)
      try {
        parse(bytes);
      } catch (error) {
        assert.equal((error as { code?: string }).code, "invalidArgument", String(error));
      }
  };
  fc.assert(
    fc.property(fc.jsonValue(), fc.constantFrom(manifest, index, config), fc.nat(5), (value, base, at) => {
      refusedOrTaken(bytesOf(value));
      const keys = Object.keys(base);
      const key = keys[at % keys.length]!;
      for (const changed of [value, [value], { [key]: value }]) refusedOrTaken(bytesOf({ ...base, [key]: changed }));
      const text = bytesOf(base);
      refusedOrTaken(text.subarray(0, text.byteLength - at - 1));
    }),
    { numRuns: RUNS, seed: 2026 },
  );
});

test("bombs of JSON are refused: depth, layers, entries", () => {
  const deep = Buffer.from("[".repeat(200_000));
  for (const parse of parsers) assert.throws(() => parse(deep), { code: "invalidArgument" });
  const many = <T>(item: T, count: number) => Array.from({ length: count }, () => item);
  assert.throws(() => parseManifest(bytesOf({ ...manifest, layers: many(descriptor, 1000) })), /at most 256 layers/);
  assert.throws(() => parseIndex(bytesOf({ ...index, manifests: many(descriptor, 5000) })), {
    code: "invalidArgument",
  });
});
