import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { hasCode, messageOf } from "../base/index.ts";
import { readJoinFile } from "./join.ts";

const folder = mkdtempSync(path.join(tmpdir(), "berth-join-"));
after(() => rmSync(folder, { recursive: true }));

function read(text: string) {
  const file = path.join(folder, "join.json");
  writeFileSync(file, text);
  return readJoinFile(file);
}

test("a join file is read as it was written; what is none says why", () => {
  const pair = { cert: "c", key: "k" };
  const join = {
    version: 1,
    node: "berth-2",
    index: 2,
    server: "https://10.244.0.1:6443",
    authority: "ca",
    kubelet: pair,
    network: pair,
    serving: pair,
    registry: "https://10.244.0.1:5000",
    overlayId: 7,
    settings: {},
  };
  assert.deepEqual(read(JSON.stringify(join)), join);
  const { kubelet: _, ...rest } = join;
  for (const [text, said] of [
    ["{", /cannot be read as a join file/],
    ["[]", /no join file of this version/],
    [JSON.stringify({ ...join, version: 2 }), /no join file of this version/],
    [JSON.stringify(rest), /lacks kubelet/],
  ] as const)
    assert.throws(
      () => read(text),
      (error) => hasCode(error, "invalidArgument") && said.test(messageOf(error)),
    );
  assert.throws(() => readJoinFile(path.join(folder, "absent")), /cannot be read/);
});
