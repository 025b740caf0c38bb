/**
 * Runs tests: `node scripts/test.ts unit|e2e|all [path filter ...]`.
 *
 * unit: `*.test.ts` beside the code and in test/; no root, no network, side by side.
 * e2e:  `test/e2e/**`; real kernel, real clients, root; one file at a time, since they share the machine. A file that fails is tried
 *       once more, and said to be flaky when it then passes (docs/adr/0130).
 * all:  types, lint and format, then unit, then e2e; what `berth test` runs. Ends at the first of them that fails.
 */
import { spawnSync } from "node:child_process";
import { globSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

const [kind = "unit", ...filters] = process.argv.slice(2);
const root = path.resolve(import.meta.dirname, "..");
const bin = path.join(root, "node_modules/.bin");
const KUBECTL_MINOR = 27;
const TEST = ["--disable-warning=ExperimentalWarning", "--test"];
const MAX_SECOND_TRIES = 3;

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
  if (suite === "e2e") runTwiceIfNeeded(runnable);
  else step(process.execPath, [...TEST, "--test-timeout=120000", ...runnable]);
}

function runTwiceIfNeeded(files: readonly string[]): void {
  const folder = mkdtempSync(path.join(tmpdir(), "berth-e2e-"));
  const failures = path.join(folder, "failed");
  // Longer for proofs that an environment variable makes long (200 kills, 1000 seeds).
  const timeoutMs = process.env["BERTH_TEST_TIMEOUT_MS"] ?? "600000";
  const options = [...TEST, "--test-concurrency=1", `--test-timeout=${timeoutMs}`];
  const reporters = [
    "--test-reporter=spec",
    "--test-reporter-destination=stdout",
    `--test-reporter=${path.join(root, "scripts/failed-files.ts")}`,
    `--test-reporter-destination=${failures}`,
  ];
  const status = attempt(process.execPath, [...options, ...reporters, ...files]);
  const failed = status === 0 ? [] : readFileSync(failures, "utf8").split("\n").filter(Boolean);
  rmSync(folder, { recursive: true, force: true });
  if (status === 0) return;
  // More than a few is no accident.
  if (failed.length === 0 || failed.length > MAX_SECOND_TRIES) process.exit(status);
  console.log(`\nfailed, and tried once more: ${failed.map((file) => path.relative(root, file)).join(", ")}`);
  step(process.execPath, [...options, ...failed]);
  console.log(`\nflaky, passed at the second try: ${failed.map((file) => path.relative(root, file)).join(", ")}`);
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
function step(file: string, args: readonly string[]): void {
  const status = attempt(file, args);
  if (status !== 0) process.exit(status);
}

/** Runs one program to its end; its exit code. */
function attempt(file: string, args: readonly string[]): number {
  console.log(`\n== ${path.basename(file)} ${args.slice(0, 4).join(" ")}${args.length > 4 ? " …" : ""}`);
  return spawnSync(file, args, { cwd: root, stdio: "inherit" }).status ?? 1;
}
