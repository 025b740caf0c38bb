import assert from "node:assert/strict";
import { test } from "node:test";
import { hasCode } from "../../../base/index.ts";
import { freeRange, idMappings, mappedRoot } from "./id-mappings.ts";

const files = {
  passwd: "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\nbob:x:1001:1001::/:/bin/sh\n",
  group: "root:x:0:\nalice:x:1000:\nstaff:x:50:\n",
  subuid: "# ranges\nalice:200000:1000\nalice:100000:65536\ndockremap:300000:65536\n",
  subgid: "1000:100000:65536\nstaff:500000:65536\ndockremap:300000:65536\n",
};

test("the ranges of a user follow each other from the lowest on", () => {
  const mappings = idMappings("alice", files);
  assert.deepEqual(mappings.uids, [
    { containerId: 0, hostId: 100000, size: 65536 },
    { containerId: 65536, hostId: 200000, size: 1000 },
  ]);
  assert.deepEqual(mappedRoot(mappings), { uid: 100000, gid: 100000 });
});

test("a user and a group, by name or number; default is dockremap", () => {
  assert.deepEqual(mappedRoot(idMappings("1000:staff", files)), { uid: 100000, gid: 500000 });
  assert.deepEqual(mappedRoot(idMappings("default", files)), { uid: 300000, gid: 300000 });
});

test("what cannot be is said with the way out", () => {
  assert.throws(() => idMappings("carol", files), /no user "carol"/);
  assert.throws(
    () => idMappings("bob", files),
    (error) => hasCode(error, "failedPrecondition"),
  );
  assert.throws(() => idMappings("bob", files), /no subuid ranges found for user "bob"/);
  assert.throws(
    () => idMappings("a:b:c", files),
    (error) => hasCode(error, "invalidArgument"),
  );
});

test("a new range begins where the last one ends", () => {
  assert.equal(freeRange(""), 100000);
  assert.equal(freeRange(files.subuid), 365536);
});
