import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { GUEST_DNS, resolverRuleset, ruleset } from "./ruleset.ts";

test("the table is the one that was reviewed", () => {
  const golden = readFileSync(path.join(import.meta.dirname, "testdata/ruleset.golden"), "utf8");
  assert.equal(ruleset("berth0000"), golden);
});

test("protocols are named by words of nft's own, which need no /etc/protocols", () => {
  const words = [...ruleset("berth0000").matchAll(/l4proto (?!\.)(\{[^}]*\}|\S+)/g)].flatMap(
    (match) => match[1]?.match(/[\w-]+/g) ?? [],
  );
  assert.ok(words.length > 0);
  assert.deepEqual(
    [...new Set(words)].filter((word) => !["tcp", "udp", "sctp", "icmp", "icmpv6", "th"].includes(word)),
    [],
  );
});

test("a resolver is reached from within its namespace, and by a machine behind a link of it", () => {
  const rules = resolverRuleset(1001, 1002);
  for (const hook of ["output", "prerouting"]) assert.match(rules, new RegExp(`type nat hook ${hook} `));
  assert.match(rules, new RegExp(`ip daddr ${GUEST_DNS} udp dport 53 dnat to 127.0.0.11:1001`));
  assert.match(rules, new RegExp(`ip daddr ${GUEST_DNS} tcp dport 53 dnat to 127.0.0.11:1002`));
});
