import { createHash } from "node:crypto";

/**
 * The queues that a flow may wait in: `handSize` different ones, the same every time, and for two flows seldom all the same.
 * https://kubernetes.io/docs/concepts/cluster-administration/flow-control/#queuing
 */
export function dealHand(flow: string, queues: number, handSize: number): number[] {
  const digest = createHash("sha256").update(flow).digest();
  let entropy = digest.readBigUInt64BE(0);
  const hand: number[] = [];
  for (let left = queues; hand.length < Math.min(handSize, queues); left--) {
    const chosen = Number(entropy % BigInt(left));
    entropy /= BigInt(left);
    // The place among those that are not in the hand yet.
    let place = chosen;
    for (const card of hand.toSorted((a, b) => a - b)) if (card <= place) place++;
    hand.push(place);
  }
  return hand;
}
