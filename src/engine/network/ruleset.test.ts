import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { GUEST_DNS, resolverRuleset, ruleset } from "./ruleset.ts";

test("the table is the one that was reviewed", () => {
  const golden = readFileSync(path.join(import.meta.dirname, "testdata/ruleset.golden"), "utf8");
  assert.equal(ruleset("berth0000"), golden);
});

test("a resolver is reached from within its namespace, and by a machine behind a link of it", () => {
  const rules = resolverRuleset(1001, 1002);
  for (const hook of ["output", "prerouting"]) assert.match(rules, new RegExp(`type nat hook ${hook} `));
  assert.match(rules, new RegExp(`ip daddr ${GUEST_DNS} udp dport 53 dnat to 127.0.0.11:1001`));
  assert.match(rules, new RegExp(`ip daddr ${GUEST_DNS} tcp dport 53 dnat to 127.0.0.11:1002`));
});
