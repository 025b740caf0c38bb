/**
 * Runs tests: `node scripts/test.ts unit|e2e|all [path filter ...]`.
 *
 * unit: `*.test.ts` beside the code and in test/; no root, no network, side by side.
 * e2e:  `test/e2e/**`; real kernel, real clients, root; one file at a time, since they share the machine.
 * all:  types, lint and format, then unit, then e2e; what `berth test` runs. Ends at the first of them that fails.
 */
import { spawnSync } from "node:child_process";
import { globSync, readFileSync } from "node:fs";
import path from "node:path";

const [kind = "unit", ...filters] = process.argv.slice(2);
const root = path.resolve(import.meta.dirname, "..");
const bin = path.join(root, "node_modules/.bin");
const KUBECTL_MINOR = 27;

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
  const [runnable, skipped] = suite === "e2e" ? bySupportedKubectl(files) : [files, []];
  if (skipped.length > 0)
    console.log(`\nskipped, since kubectl 1.${KUBECTL_MINOR} or newer is not here: ${skipped.join(", ")}`);
  if (runnable.length === 0) return;
  const options = suite === "e2e" ? ["--test-concurrency=1", "--test-timeout=600000"] : ["--test-timeout=120000"];
  step(process.execPath, ["--disable-warning=ExperimentalWarning", "--test", ...options, ...runnable]);
}

/** Splits off the files that drive a cluster by kubectl, where there is none that Kubernetes supports with our version of the API. */
function bySupportedKubectl(files: string[]): [string[], string[]] {
  const { stdout } = spawnSync("kubectl", ["version", "--client", "-o", "json"], { encoding: "utf8" });
  if (Number(/"minor": "(\d+)/.exec(stdout ?? "")?.[1] ?? 0) >= KUBECTL_MINOR) return [files, []];
  const needs = (file: string) =>
    /\bkubectl\b|(?:support\/(?:pods|cluster)|\/harness)\.ts/.test(readFileSync(path.join(root, file), "utf8"));
  return [files.filter((file) => !needs(file)), files.filter(needs)];
}

/** Runs one program to its end, and ends with it when it fails. */
function step(file: string, args: string[]): void {
  console.log(`\n== ${path.basename(file)} ${args.slice(0, 4).join(" ")}${args.length > 4 ? " …" : ""}`);
  const result = spawnSync(file, args, { cwd: root, stdio: "inherit" });
  if (result.status !== 0) process.exit(result.status ?? 1);
}
