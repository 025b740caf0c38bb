import assert from "node:assert/strict";
import { test } from "node:test";
import type { KubeObject } from "../../api/index.ts";
import { encodeForStore, Entry } from "./entry.ts";

const pod = (name: string, ip: string): KubeObject => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: {
    name,
    managedFields: [
      {
        manager: "kubelet",
        operation: "Update",
        fieldsType: "FieldsV1",
        fieldsV1: { "f:status": { "f:phase": {}, "f:podIPs": { ".": {}, [`k:{"ip":"${ip}"}`]: { "f:ip": {} } } } },
      },
    ],
  },
});
const fieldsOf = (entry: Entry) => entry.object.metadata.managedFields![0]!.fieldsV1 as Record<string, object>;

test("objects share equal managed fields, whether written here or read from the store", () => {
  const written = Entry.of("/a", encodeForStore(pod("a", "10.0.0.1")), 5);
  const read = Entry.of("/b", Buffer.from(encodeForStore(pod("b", "10.0.0.1"))), 6);
  assert.equal(fieldsOf(written), fieldsOf(read));
  assert.ok(Object.isFrozen(fieldsOf(read)["f:status"]));
});

test("what is peculiar to an object stays its own, and the bytes are what they were", () => {
  const one = Entry.of("/a", encodeForStore(pod("a", "10.0.0.1")), 5);
  const other = Entry.of("/b", encodeForStore(pod("b", "10.0.0.2")), 6);
  assert.notEqual(fieldsOf(one), fieldsOf(other));
  for (const entry of [one, other]) assert.deepEqual(JSON.parse(entry.json.toString()), entry.object);
});
