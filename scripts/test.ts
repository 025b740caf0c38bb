/**
 * Runs tests: `node scripts/test.ts unit|e2e [path filter ...]`.
 *
 * unit: `*.test.ts` beside the code and in test/; no root, no network, side by side.
 * e2e:  `test/e2e/**`; real kernel, real clients, root; one file at a time, since they share the machine.
 */
import { spawnSync } from "node:child_process";
import { globSync } from "node:fs";
import path from "node:path";

const [kind = "unit", ...filters] = process.argv.slice(2);
const root = path.resolve(import.meta.dirname, "..");
const patterns =
  kind === "e2e" ? ["test/e2e/**/*.test.ts"] : ["src/**/*.test.ts", "test/*.test.ts", "web/**/*.test.ts"];
const files = globSync(patterns, { cwd: root }).filter(
  (file) => filters.length === 0 || filters.some((filter) => file.includes(filter)),
);
if (files.length === 0) {
  console.error(`no ${kind} test matches ${filters.join(" ")}`);
  process.exit(1);
}
const concurrency = kind === "e2e" ? ["--test-concurrency=1", "--test-timeout=600000"] : ["--test-timeout=120000"];
const result = spawnSync(
  process.execPath,
  ["--disable-warning=ExperimentalWarning", "--test", ...concurrency, ...files.sort()],
  {
    cwd: root,
    stdio: "inherit",
  },
);
process.exit(result.status ?? 1);
