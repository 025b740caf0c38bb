import assert from "node:assert/strict";
import { test } from "node:test";
import { planForwarding, planRemoval } from "./forwarding.ts";

const QUIET = "-P INPUT ACCEPT\n-P FORWARD ACCEPT\n-P OUTPUT ACCEPT\n";
const DOCKERD = `-P INPUT ACCEPT
-P FORWARD DROP
-P OUTPUT ACCEPT
-N DOCKER
-N DOCKER-USER
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-FORWARD
`;
const OURS = (direction: string) =>
  `-A DOCKER-USER ${direction} berth0a1b+ -m comment --comment "berth:berth0a1b" -j ACCEPT\n`;

test("nothing is changed where nothing drops", () => {
  assert.deepEqual(planForwarding(QUIET, "berth0a1b"), []);
});

test("beside dockerd the rules go where it leaves room, each once", () => {
  const tail = ["-m", "comment", "--comment", "berth:berth0a1b", "-j", "ACCEPT"];
  assert.deepEqual(planForwarding(DOCKERD, "berth0a1b"), [
    ["-I", "DOCKER-USER", "-i", "berth0a1b+", ...tail],
    ["-I", "DOCKER-USER", "-o", "berth0a1b+", ...tail],
  ]);
  assert.deepEqual(planForwarding(DOCKERD + OURS("-i"), "berth0a1b"), [
    ["-I", "DOCKER-USER", "-o", "berth0a1b+", ...tail],
  ]);
  assert.deepEqual(planForwarding(DOCKERD + OURS("-i") + OURS("-o"), "berth0a1b"), []);
  assert.equal(planForwarding(DOCKERD + OURS("-i") + OURS("-o"), "berthffff").length, 2);
});

test("a firewall with policy drop: at the head of its chain", () => {
  const changes = planForwarding("-P FORWARD DROP\n", "berth0a1b");
  assert.deepEqual(
    changes.map(([op, chain]) => [op, chain]),
    [
      ["-I", "FORWARD"],
      ["-I", "FORWARD"],
    ],
  );
});

test("our rules are taken away, others' stay", () => {
  const listing = `${DOCKERD}${OURS("-i")}-A DOCKER-USER -i berthffff+ -m comment --comment "berth:berthffff" -j ACCEPT\n`;
  assert.deepEqual(
    planRemoval(listing, "berth0a1b").map((change) => change.slice(0, 4)),
    [["-D", "DOCKER-USER", "-i", "berth0a1b+"]],
  );
});
