/**
 * All benchmarks of a group, one after the other: `node bench/run.ts docker` (root; docker.io and podman installed for the comparison). Ends
 * with 1 when a limit of SPECIFICATION.md is broken.
 */
import { spawnSync } from "node:child_process";
import path from "node:path";

const GROUPS: Readonly<Record<string, readonly string[]>> = {
  docker: ["start", "containers", "exec", "runtime", "build", "images", "ports"],
  vm: ["vm", "vm-throughput"],
};

const [group = "", ...options] = process.argv.slice(2);
const files = GROUPS[group];
if (!files) {
  console.error(`usage: node bench/run.ts ${Object.keys(GROUPS).join("|")} [file ...]`);
  process.exit(1);
}
for (const file of files.filter((each) => options.length === 0 || options.includes(each))) {
  console.log(`\n== ${file}`);
  const result = spawnSync(process.execPath, [path.join(import.meta.dirname, `${file}.ts`)], { stdio: "inherit" });
  if (result.status !== 0) process.exitCode = 1;
}
