import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { readdir, readFile, rename, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { failedPrecondition } from "../../../../base/index.ts";
import { run } from "../../../../host/index.ts";

const ROOT = path.resolve(import.meta.dirname, "../../../../..");
const PACK_MS = 120_000;

/** Packs this berth with its Node and what it depends on as `berth.tar` into a folder, beside a `version` that changes when it does. */
export async function packBerth(folder: string): Promise<void> {
  const paths = ["package.json", "scripts", "src", ...(await dependencies())];
  const version = await versionOf(["package-lock.json", "src"]);
  const file = path.join(folder, "version");
  if ((await readFile(file, "utf8").catch(() => "")) === version) return;
  const archive = path.join(folder, "berth.tar");
  // Headers of Node are half of its package.
  const left = ["--exclude=*.test.ts", "--exclude=node_modules/*/include"];
  const node = ["-C", path.dirname(process.execPath), path.basename(process.execPath)];
  const argv = ["/bin/tar", "-C", ROOT, "-cf", `${archive}.new`, ...left, ...paths, ...node];
  const { code, stderr } = await run(argv, { timeoutMs: PACK_MS });
  if (code !== 0) throw failedPrecondition(`berth cannot be packed for its node: ${stderr.trim()}`);
  await rename(`${archive}.new`, archive);
  await writeFile(file, version);
}

/** Folders of the packages that berth runs with, by the lock file: those for its development are left out. */
async function dependencies(): Promise<string[]> {
  const text = await readFile(path.join(ROOT, "package-lock.json"), "utf8");
  const { packages } = JSON.parse(text) as { packages: Record<string, { dev?: boolean; os?: readonly string[] }> };
  const used = Object.entries(packages).filter(([name, { dev }]) => name.startsWith("node_modules/") && !dev);
  const isNode = (name: string) => /^node_modules\/node-(linux|bin)/.test(name);
  const names = used.map(([name]) => name).filter((name) => !isNode(name) && existsSync(path.join(ROOT, name)));
  // A package within another comes with it.
  return names.filter((name) => !names.some((other) => name.startsWith(`${other}/`)));
}

/** By names, sizes and times: reading everything would cost more than packing it. */
async function versionOf(names: readonly string[]): Promise<string> {
  const hash = createHash("sha256");
  for (const name of names) {
    const found = path.join(ROOT, name);
    const below = (await stat(found)).isDirectory() ? await readdir(found, { recursive: true }) : [""];
    for (const file of below.sort()) {
      const { size, mtimeMs } = await stat(path.join(found, file));
      hash.update(`${file}\0${size}\0${mtimeMs}\0`);
    }
  }
  return hash.digest("hex");
}
