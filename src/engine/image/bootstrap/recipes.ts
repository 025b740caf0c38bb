import type { OciImageRunConfig } from "../../../api/index.ts";

/** How a base image is made from packages. */
export interface Recipe {
  /** Names the cached root filesystem; changes with what is in it. */
  readonly key: string;
  readonly kind: "busybox" | "packages";
  readonly packages: readonly string[];
  /** mmdebstrap's: `essential` has no apt, `minbase` has. */
  readonly variant: "essential" | "minbase";
  /** Shell commands at the end, `$1` being the new root. */
  readonly hooks: readonly string[];
  readonly config: OciImageRunConfig;
}

const PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const BUSYBOX: Recipe = {
  key: "busybox",
  kind: "busybox",
  packages: [],
  variant: "essential",
  hooks: [],
  config: { Cmd: ["sh"], Env: [PATH] },
};

const DEBIAN: Recipe = {
  key: "debian-1",
  kind: "packages",
  packages: ["ca-certificates"],
  variant: "minbase",
  hooks: [],
  config: { Cmd: ["bash"], Env: [PATH] },
};

/**
 * A stand-in for `python:*-slim`: Debian's Python with pip and Flask, so that `pip install flask` finds its requirement satisfied without a
 * network. `python` is a name there, and Debian's marker against pip is gone, since this Python belongs to the image and not to an
 * administrator (PEP 668).
 */
const PYTHON: Recipe = {
  key: "python-1",
  kind: "packages",
  packages: ["python3", "python3-pip", "python3-flask", "ca-certificates"],
  variant: "essential",
  hooks: ['ln -sf python3 "$1/usr/bin/python"', 'rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED'],
  config: { Cmd: ["python3"], Env: [PATH, "LANG=C.UTF-8"] },
};

const RECIPES: Readonly<Record<string, Recipe>> = { busybox: BUSYBOX, debian: DEBIAN, python: PYTHON };

export const BOOTSTRAP_NAMES: readonly string[] = Object.keys(RECIPES);

/** By the familiar repository name; any tag. */
export function recipeFor(repository: string): Recipe | undefined {
  return Object.hasOwn(RECIPES, repository) ? RECIPES[repository] : undefined;
}

export interface Distribution {
  /** `debian`, `ubuntu`. */
  readonly id: string;
  /** `bookworm`. */
  readonly suite: string;
}

/** os-release(5). */
export function parseOsRelease(text: string): Distribution | undefined {
  const values = Object.fromEntries(
    text.split("\n").flatMap((line) => {
      const match = /^([A-Z_]+)="?(.*?)"?$/.exec(line);
      return match ? [[match[1]!, match[2]!]] : [];
    }),
  );
  const suite = values["VERSION_CODENAME"];
  const id = values["ID"];
  return suite && id && /^[a-z]+$/.test(suite) ? { id, suite } : undefined;
}

/** Documentation and translations are no use in a container. */
const LEFT_OUT = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*"];

/** mmdebstrap's command line: `recipe` from `distribution`'s archive into the tar `target`. */
export function mmdebstrapArguments(recipe: Recipe, distribution: Distribution, target: string): string[] {
  return [
    "mmdebstrap",
    `--variant=${recipe.variant}`,
    `--components=${distribution.id === "ubuntu" ? "main,universe" : "main"}`,
    ...(recipe.packages.length > 0 ? [`--include=${recipe.packages.join(",")}`] : []),
    '--aptopt=Acquire::Languages "none"',
    ...LEFT_OUT.map((path) => `--dpkgopt=path-exclude=${path}`),
    ...recipe.hooks.map((hook) => `--customize-hook=${hook}`),
    "--format=tar",
    "--quiet",
    distribution.suite,
    target,
  ];
}
