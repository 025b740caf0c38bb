import {
  accessSync,
  constants,
  copyFileSync,
  existsSync,
  globSync,
  mkdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { failedPrecondition } from "../base/index.ts";
import { root, wait } from "./daemon-process.ts";
import { confirm, print } from "./output/terminal.ts";

/** One package of the operating system that berth uses, and the file by which it is known to be there (a pattern). */
interface InstalledPackage {
  readonly package: string;
  readonly file: string;
  readonly for: string;
}

/** One program out of a package that isn't installed, since it would bring a daemon with it. The first of the packages that the system has is used. */
interface UnpackedProgram {
  readonly program: string;
  readonly unpackedFrom: readonly string[];
  readonly for: string;
}

type SystemPackage = InstalledPackage | UnpackedProgram;

/** Where programs are unpacked to; before everything else in the tests' PATH. */
const PROGRAMS = path.join(root, "node_modules/.bin");
const POLICY = "/usr/sbin/policy-rc.d";
const APT_TIMEOUT_MS = 900_000;

/** Installs what is missing of the named groups in scripts/packages.json, after listing it and asking (or `yes`). */
export async function ensurePackages(groups: readonly string[], options: { yes?: boolean }): Promise<void> {
  const text = readFileSync(path.join(root, "scripts/packages.json"), "utf8");
  const known = JSON.parse(text) as Record<string, SystemPackage[]>;
  const missing = groups.flatMap((group) => known[group] ?? []).filter((item) => !isThere(item));
  if (missing.length === 0) return;
  print("berth needs these packages of the operating system:");
  for (const item of missing) print(`  ${nameOf(item).padEnd(18)} ${item.for}`);
  if (!existsSync("/usr/bin/apt-get")) {
    throw failedPrecondition("they can't be installed here: there is no apt-get", {
      hint: "install them with this system's own tool",
    });
  }
  await confirm("Install them with apt-get?", options);
  await install(missing);
}

function isThere(item: SystemPackage): boolean {
  if ("file" in item) return globSync(item.file).length > 0;
  const folders = [PROGRAMS, ...(process.env["PATH"] ?? "").split(":")];
  return folders.some((folder) => isExecutable(path.join(folder, item.program)));
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function nameOf(item: SystemPackage): string {
  return "file" in item ? item.package : `${item.program} (of ${item.unpackedFrom.at(-1)})`;
}

async function install(missing: readonly SystemPackage[]): Promise<void> {
  const names = missing.flatMap((item) => ("file" in item ? [item.package] : []));
  if (names.length > 0) {
    const result = await withoutStartingServices(() => apt("install", "-y", "--no-install-recommends", ...names));
    if (result.code !== 0)
      throw failedPrecondition(`apt-get could not install ${names.join(", ")}: ${result.stderr.trim()}`);
  }
  for (const item of missing) if (!("file" in item)) await unpack(item);
}

/** Runs apt-get; a fresh machine has no package lists yet, so they are fetched when it fails. */
async function apt(...args: string[]) {
  const result = await command("apt-get", ...args);
  if (result.code === 0) return result;
  await command("apt-get", "update");
  return command("apt-get", ...args);
}

async function command(...argv: string[]) {
  const { run } = await import("../host/index.ts");
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" } as Record<string, string>;
  let done = false;
  const finished = run(argv, { env, timeoutMs: APT_TIMEOUT_MS }).finally(() => (done = true));
  while (!done) await wait(50);
  return finished;
}

/** Debian starts a package's daemon when it is installed: a registry on the port of the demo's application, an etcd. Tests start their own. */
async function withoutStartingServices<T>(task: () => Promise<T>): Promise<T> {
  if (existsSync(POLICY)) return task();
  writeFileSync(POLICY, "#!/bin/sh\nexit 101\n", { mode: 0o755 });
  try {
    return await task();
  } finally {
    rmSync(POLICY, { force: true });
  }
}

async function unpack(item: UnpackedProgram): Promise<void> {
  if (await unpackFromAny(item)) return;
  await command("apt-get", "update");
  if (await unpackFromAny(item)) return;
  throw failedPrecondition(`${item.program} is in none of the packages ${item.unpackedFrom.join(", ")} of this system`);
}

async function unpackFromAny({ program, unpackedFrom }: UnpackedProgram): Promise<boolean> {
  const folder = path.join(root, "node_modules/.cache/packages", program);
  const script = 'cd "$1" && apt-get download "$2" && dpkg-deb --fsys-tarfile ./*.deb | tar -x "./usr/bin/$3"';
  try {
    for (const name of unpackedFrom) {
      rmSync(folder, { recursive: true, force: true });
      mkdirSync(folder, { recursive: true });
      const { code } = await command("/bin/sh", "-c", script, "sh", folder, name, program);
      if (code !== 0) continue;
      copyFileSync(path.join(folder, "usr/bin", program), path.join(PROGRAMS, program));
      return true;
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return false;
}
