/** What the files of build tests share: an engine of their own, contexts, builds by the real docker CLI, and a look into what they made. */
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { after, afterEach, before } from "node:test";
import type { Image } from "../../src/engine/image/index.ts";
import { importBusybox, startBuildEngine, type BuildEngine, type CliResult } from "./build-engine.ts";

export let engine: BuildEngine;
let serial = 0;

/** Starts the engine before a file's tests and looks after each that nothing is left. */
export function useBuildEngine(): void {
  before(async () => {
    engine = await startBuildEngine();
    await importBusybox(engine.images);
  });
  after(() => engine?.stop());
  afterEach(() => {
    assert.deepEqual(engine.mounts(), [], "a mount was left");
    assert.deepEqual(engine.snapshots.list(), [], "a draft was left");
    const scratch = path.join(engine.context.dataDir, "build/scratch");
    assert.deepEqual(fs.readdirSync(scratch), [], "scratch files were left");
  });
}

export function context(files: Record<string, string | Buffer>): string {
  const directory = path.join(engine.directory, `context-${serial++}`);
  for (const [name, content] of Object.entries(files)) {
    fs.mkdirSync(path.dirname(path.join(directory, name)), { recursive: true });
    fs.writeFileSync(path.join(directory, name), content);
  }
  return directory;
}

export interface Built extends CliResult {
  readonly image: Image;
  /** Calls with the image's root filesystem. */
  look<T>(task: (root: string) => T): Promise<T>;
}

export async function build(
  dockerfile: string,
  files: Record<string, string | Buffer> = {},
  ...args: string[]
): Promise<Built> {
  const tag = `t${serial}`;
  const result = await engine.docker(["build", "-t", tag, ...args, context({ Dockerfile: dockerfile, ...files })]);
  assert.equal(result.code, 0, result.stdout + result.stderr);
  const image = await engine.images.resolve(tag);
  const look = async <T>(task: (root: string) => T): Promise<T> => {
    const target = path.join(engine.directory, `look-${serial++}`);
    fs.mkdirSync(target);
    await engine.snapshots.mountLayer(image.chainId!, target);
    try {
      return task(target);
    } finally {
      await engine.snapshots.unmount(target);
    }
  };
  return { ...result, image, look };
}

export async function refused(
  dockerfile: string,
  files: Record<string, string> = {},
  ...args: string[]
): Promise<CliResult> {
  const result = await engine.docker(["build", ...args, context({ Dockerfile: dockerfile, ...files })]);
  assert.notEqual(result.code, 0, result.stdout);
  return result;
}

export async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!condition()) {
    assert.ok(Date.now() < deadline, `waited too long until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
