/**
 * Runs tests: `node scripts/test.ts unit|e2e|all [path filter ...]`.
 *
 * unit: `*.test.ts` beside the code and in test/; no root, no network, side by side.
 * e2e:  `test/e2e/**`; real kernel, real clients, root; one file at a time, since they share the machine.
 * all:  types, lint and format, then unit, then e2e; what `berth test` runs. Ends at the first of them that fails.
 */
import { spawnSync } from "node:child_process";
import { globSync } from "node:fs";
import path from "node:path";

const [kind = "unit", ...filters] = process.argv.slice(2);
const root = path.resolve(import.meta.dirname, "..");
const bin = path.join(root, "node_modules/.bin");

if (kind === "all") {
  if (filters.length === 0) check();
  run("unit", filters.length > 0);
  run("e2e", filters.length > 0);
} else run(kind, false);

/** Types, lint, format. */
function check(): void {
  step(path.join(bin, "tsc"), ["-p", "."]);
  step(path.join(bin, "oxlint"), ["--type-aware"]);
  step(path.join(bin, "oxfmt"), ["--check"]);
}

function run(suite: string, noneIsFine: boolean): void {
  const patterns =
    suite === "e2e" ? ["test/e2e/**/*.test.ts"] : ["src/**/*.test.ts", "test/*.test.ts", "web/**/*.test.ts"];
  const files = globSync(patterns, { cwd: root })
    .filter((file) => filters.length === 0 || filters.some((filter) => file.includes(filter)))
    .sort();
  if (files.length === 0) {
    if (noneIsFine) return;
    console.error(`no ${suite} test matches ${filters.join(" ")}`);
    process.exit(1);
  }
  const options = suite === "e2e" ? ["--test-concurrency=1", "--test-timeout=600000"] : ["--test-timeout=120000"];
  step(process.execPath, ["--disable-warning=ExperimentalWarning", "--test", ...options, ...files]);
}

/** Runs one program to its end, and ends with it when it fails. */
function step(file: string, args: string[]): void {
  console.log(`\n== ${path.basename(file)} ${args.slice(0, 4).join(" ")}${args.length > 4 ? " …" : ""}`);
  const result = spawnSync(file, args, { cwd: root, stdio: "inherit" });
  if (result.status !== 0) process.exit(result.status ?? 1);
}
