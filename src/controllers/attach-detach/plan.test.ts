import assert from "node:assert/strict";
import { test } from "node:test";
import type { k8s } from "../../api/index.ts";
import type { Stored } from "../../client/index.ts";
import { attachmentName, planNode, type AttachableVolume } from "./plan.ts";

const volume: AttachableVolume = { name: "pv", driver: "d.example.com", handle: "h", exclusive: true };
const node = { status: { conditions: [{ type: "Ready", status: "True" }] } } as unknown as k8s.Node;
const attachment = (name: string) =>
  ({
    metadata: { name, uid: name },
    spec: { attacher: "d.example.com", nodeName: "n", source: { persistentVolumeName: "pv" } },
  }) as unknown as Stored<k8s.VolumeAttachment>;
const plan = (names: string[], wanted: AttachableVolume[] = [], of?: AttachableVolume) =>
  planNode(
    "n",
    {
      node,
      wanted: new Map(wanted.map((each) => [each.name, each])),
      attachments: names.map(attachment),
      unneededMs: () => 0,
    },
    () => of,
  );

test("a volume that a Pod needs is attached once", () => {
  assert.deepEqual(plan([], [volume]).attach, [volume]);
  assert.deepEqual(plan([attachmentName(volume, "n")], [volume], volume).attach, []);
});

test("what nobody needs is detached, and what somebody else attached is left to them", () => {
  const ours = attachmentName(volume, "n");
  const { detach, waiting } = plan([ours, "somebody-elses"]);
  assert.deepEqual([detach.map(({ metadata }) => metadata.name), waiting], [[ours], false]);
});
