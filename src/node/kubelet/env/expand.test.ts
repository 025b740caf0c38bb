import assert from "node:assert/strict";
import { test } from "node:test";
import { expand } from "./expand.ts";

const known: Record<string, string> = { HOST: "db", PORT: "5432", EMPTY: "" };

for (const [text, expected] of [
  ["$(HOST):$(PORT)", "db:5432"],
  ["$(UNKNOWN)", "$(UNKNOWN)"],
  ["$$(HOST)", "$(HOST)"],
  ["$$$(HOST)", "$db"],
  ["$HOST", "$HOST"],
  ["$(EMPTY)x", "x"],
  ["$(HOST", "$(HOST"],
  ["trailing $", "trailing $"],
] as const) {
  test(`expands ${text}`, () =>
    assert.equal(
      expand(text, (name) => known[name]),
      expected,
    ));
}
