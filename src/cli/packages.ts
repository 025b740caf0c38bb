import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { failedPrecondition } from "../base/index.ts";
import { root, wait } from "./daemon-process.ts";
import { confirm, print } from "./output/terminal.ts";

/** One package of the operating system that berth uses, and the file by which it is known to be there. */
interface SystemPackage {
  readonly package: string;
  readonly file: string;
  readonly for: string;
}

/** Installs what is missing of the named groups in scripts/packages.json, after listing it and asking (or `yes`). */
export async function ensurePackages(groups: readonly string[], options: { yes?: boolean }): Promise<void> {
  const text = readFileSync(path.join(root, "scripts/packages.json"), "utf8");
  const known = JSON.parse(text) as Record<string, SystemPackage[]>;
  const missing = groups.flatMap((group) => known[group] ?? []).filter(({ file }) => !existsSync(file));
  if (missing.length === 0) return;
  print("berth needs these packages of the operating system:");
  for (const item of missing) print(`  ${item.package.padEnd(18)} ${item.for}`);
  if (!existsSync("/usr/bin/apt-get")) {
    throw failedPrecondition("they can't be installed here: there is no apt-get", {
      hint: "install them with this system's own tool",
    });
  }
  await confirm("Install them with apt-get?", options);
  await install(missing.map((item) => item.package));
}

async function install(names: readonly string[]): Promise<void> {
  const { run } = await import("../host/index.ts");
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" } as Record<string, string>;
  const apt = async (...args: string[]) => {
    let done = false;
    const finished = run(["apt-get", ...args], { env, timeoutMs: 900_000 }).finally(() => (done = true));
    while (!done) await wait(50);
    return finished;
  };
  const installing = ["install", "-y", "--no-install-recommends", ...names];
  let result = await apt(...installing);
  if (result.code !== 0) {
    // A fresh machine has no package lists yet.
    await apt("update");
    result = await apt(...installing);
  }
  if (result.code !== 0)
    throw failedPrecondition(`apt-get could not install ${names.join(", ")}: ${result.stderr.trim()}`);
}
