import { createReadStream, createWriteStream } from "node:fs";
import { access, mkdir, readFile, rename } from "node:fs/promises";
import path from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createZstdCompress } from "node:zlib";
import { failedPrecondition, hasCode, notFound, type InstanceContext } from "../../../base/index.ts";
import { run } from "../../../host/index.ts";
import { removeTree } from "../../content/index.ts";
import { familiarRepository, parseReference } from "../reference.ts";
import type { Bootstrapper, BootstrapResult } from "../service.ts";
import type { OnProgress } from "../types.ts";
import { busyboxTar } from "./busybox.ts";
import {
  BOOTSTRAP_NAMES,
  mmdebstrapArguments,
  parseOsRelease,
  recipeFor,
  type Distribution,
  type Recipe,
} from "./recipes.ts";

/** Shared by all instances of the machine, since making a Debian takes half a minute. */
const SHARED_CACHE = "/var/cache/berth";
const BUSYBOX_PATHS = ["/usr/bin/busybox", "/bin/busybox"];
const MMDEBSTRAP_TIMEOUT_MS = 20 * 60_000;

/** Base images from the packages of the machine's own distribution. */
export class PackageBootstrapper implements Bootstrapper {
  readonly names = BOOTSTRAP_NAMES;
  readonly #context: InstanceContext;
  readonly #sharedCache: string;

  constructor(context: InstanceContext, sharedCache = SHARED_CACHE) {
    this.#context = context;
    this.#sharedCache = sharedCache;
  }

  async make(name: string, options: { onProgress?: OnProgress; signal?: AbortSignal }): Promise<BootstrapResult> {
    const recipe = recipeFor(familiarRepository(parseReference(name)));
    if (!recipe)
      throw notFound(`there is no recipe to make ${name} from packages`, {
        hint: `there are recipes for ${BOOTSTRAP_NAMES.join(", ")}`,
      });
    const tar = recipe.kind === "busybox" ? await makeBusybox() : await this.#packages(name, recipe, options);
    return { tar, config: recipe.config, message: `Made by berth from the packages of this machine's distribution` };
  }

  async #packages(
    name: string,
    recipe: Recipe,
    { onProgress, signal }: { onProgress?: OnProgress; signal?: AbortSignal },
  ): Promise<Readable> {
    const distribution = await hostDistribution();
    const folder = await this.#cacheFolder();
    const cached = path.join(folder, `${recipe.key}-${distribution.suite}.tar.zst`);
    if (!(await exists(cached))) {
      onProgress?.({
        status: `Making ${name} from packages of ${distribution.id} ${distribution.suite} (once; about half a minute)`,
      });
      await this.#debootstrap(recipe, distribution, cached, signal);
    }
    return createReadStream(cached, { highWaterMark: 1 << 18 });
  }

  async #debootstrap(
    recipe: Recipe,
    distribution: Distribution,
    cached: string,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const mark = `${process.pid}-${this.#context.clock.nowMs()}`;
    const tar = `${cached}.${mark}.tar`;
    const packed = `${cached}.${mark}.tmp`;
    try {
      const result = await runProgram(mmdebstrapArguments(recipe, distribution, tar), signal);
      if (result.code !== 0)
        throw failedPrecondition(`mmdebstrap failed: ${lastLines(result.stderr)}`, {
          hint: "are the distribution's archives reachable?",
        });
      await pipeline(createReadStream(tar), createZstdCompress(), createWriteStream(packed, { mode: 0o600 }));
      await rename(packed, cached);
    } finally {
      await removeTree(tar);
      await removeTree(packed);
    }
  }

  async #cacheFolder(): Promise<string> {
    try {
      await mkdir(this.#sharedCache, { recursive: true, mode: 0o755 });
      return this.#sharedCache;
    } catch {
      const own = path.join(this.#context.dataDir, "bootstrap");
      await mkdir(own, { recursive: true });
      return own;
    }
  }
}

async function makeBusybox(): Promise<Readable> {
  for (const file of BUSYBOX_PATHS) {
    if (!(await exists(file))) continue;
    const { stdout } = await runProgram([file, "--list"]);
    return Readable.from(
      [
        busyboxTar(
          await readFile(file),
          stdout.split("\n").filter((line) => line !== ""),
        ),
      ],
      { objectMode: false },
    );
  }
  throw failedPrecondition("there is no busybox on this machine", { hint: "apt-get install busybox-static" });
}

async function hostDistribution(): Promise<Distribution> {
  const distribution = parseOsRelease(await readFile("/etc/os-release", "utf8"));
  if (!distribution) throw failedPrecondition("this machine's distribution has no name that mmdebstrap knows");
  return distribution;
}

async function runProgram(argv: string[], signal?: AbortSignal) {
  try {
    return await run(argv, { signal, timeoutMs: MMDEBSTRAP_TIMEOUT_MS, env: programEnvironment() });
  } catch (error) {
    if (!hasCode(error, "notFound")) throw error;
    throw failedPrecondition(`${argv[0]} is not installed`, { cause: error, hint: `apt-get install ${argv[0]}` });
  }
}

/** What apt needs of ours: where programs are, and the proxy. */
function programEnvironment(): Record<string, string> {
  const kept = ["PATH", "http_proxy", "https_proxy", "no_proxy", "TMPDIR"];
  const found = kept.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]] as const]));
  return { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C.UTF-8", ...Object.fromEntries(found) };
}

function lastLines(text: string): string {
  return text.trim().split("\n").slice(-3).join("; ");
}

async function exists(file: string): Promise<boolean> {
  return access(file).then(
    () => true,
    () => false,
  );
}
