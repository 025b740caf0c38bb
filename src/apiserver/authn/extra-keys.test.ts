import assert from "node:assert/strict";
import { test } from "node:test";

import { messageOf } from "../../base/index.ts";
import { checkExtraKeys } from "./extra-keys.ts";

function refusal(...keys: string[]): string {
  try {
    checkExtraKeys(keys, "m");
    return "";
  } catch (error) {
    return messageOf(error);
  }
}

test("extra attributes of users have a domain of their own, in lower case, once each", () => {
  assert.equal(refusal("acme.io/role", "acme.io/team"), "");
  assert.match(refusal("acme.io/Role"), /m\.extra\[0\]\.key: Invalid value: "acme\.io\/Role": key must be lowercase/);
  assert.match(refusal("role"), /must be a domain-prefixed path/);
  assert.match(refusal("a.k8s.io/role"), /reserved for Kubernetes use/);
  assert.match(refusal("acme.io/a", "acme.io/a"), /m\.extra\[1\]\.key: Duplicate value/);
  assert.match(refusal("a_b.io/x"), /RFC 1123 subdomain/);
  assert.match(refusal(""), /Required value/);
});
