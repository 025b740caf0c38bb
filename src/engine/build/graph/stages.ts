/**
 * From instructions to a graph of stages: what each begins from, what it copies from, and which of them the target needs. Pure.
 */
import { BerthError, invalidArgument, messageOf } from "../../../base/index.ts";
import {
  dockerfileError,
  expandWord,
  nearest,
  type Dockerfile,
  type Instruction,
  type InstructionOf,
} from "../dockerfile/index.ts";
import type { Platform } from "../types.ts";

export type StageBase =
  | { readonly kind: "scratch" }
  | { readonly kind: "stage"; readonly index: number }
  | { readonly kind: "image"; readonly reference: string };

export interface Stage {
  readonly index: number;
  readonly name?: string;
  readonly base: StageBase;
  readonly platform: Platform;
  readonly from: InstructionOf<"from">;
  readonly instructions: readonly Instruction[];
  /** Stages that must be there before, as far as the Dockerfile itself says (ONBUILD triggers may add more). */
  readonly needs: ReadonlySet<number>;
}

export interface BuildPlan {
  readonly dockerfile: Dockerfile;
  /** ARGs before the first FROM. */
  readonly globals: readonly Instruction[];
  /** Their values, those given by the user in place. */
  readonly globalArgs: ReadonlyMap<string, string>;
  readonly platformArgs: ReadonlyMap<string, string>;
  readonly stages: readonly Stage[];
  readonly target: number;
  /** The target and what it needs, in order of the Dockerfile. */
  readonly needed: readonly number[];
}

export interface PlanInput {
  readonly buildArgs: Readonly<Record<string, string | undefined>>;
  readonly target?: string;
  readonly buildPlatform: Platform;
  readonly targetPlatform: Platform;
}

/** Throws invalidArgument, at the instruction that is wrong. */
export function planStages(dockerfile: Dockerfile, input: PlanInput): BuildPlan {
  const first = dockerfile.instructions.findIndex((instruction) => instruction.kind === "from");
  const globals = first < 0 ? dockerfile.instructions : dockerfile.instructions.slice(0, first);
  const early = globals.find((instruction) => instruction.kind !== "arg");
  if (early)
    throw at(dockerfile, early, `no build stage in current context: ${early.text.split(" ")[0]} must come after FROM`);
  if (first < 0) throw invalidArgument("dockerfile contains no stages to build: it has no FROM");
  const platformArgs = platformVariables(input.buildPlatform, input.targetPlatform);
  const globalArgs = globalArguments(dockerfile, globals, input.buildArgs, platformArgs);
  const stages = splitStages(
    dockerfile,
    dockerfile.instructions.slice(first),
    new Map([...platformArgs, ...globalArgs]),
    input,
  );
  const target = findTarget(stages, input.target);
  return { dockerfile, globals, globalArgs, platformArgs, stages, target, needed: closure(stages, target) };
}

export function at(dockerfile: Dockerfile, instruction: Instruction, what: string, hint?: string): BerthError {
  return dockerfileError(dockerfile.source, instruction.line.positionAt(0), what, {
    length: instruction.line.text.length,
    ...(hint ? { hint } : {}),
  });
}

/** Gives an error of the expansion (or of anything below) its place in the Dockerfile. */
export function located<T>(dockerfile: Dockerfile, instruction: Instruction, task: () => T): T {
  try {
    return task();
  } catch (error) {
    if (error instanceof BerthError && error.code === "invalidArgument" && error.details["line"] === undefined)
      throw at(dockerfile, instruction, messageOf(error), error.hint);
    throw error;
  }
}

/** https://docs.docker.com/reference/dockerfile/#automatic-platform-args-in-the-global-scope */
function platformVariables(build: Platform, target: Platform): Map<string, string> {
  const variables = new Map<string, string>();
  for (const [prefix, platform] of [
    ["BUILD", build],
    ["TARGET", target],
  ] as const) {
    variables.set(`${prefix}PLATFORM`, formatPlatform(platform));
    variables.set(`${prefix}OS`, platform.os);
    variables.set(`${prefix}ARCH`, platform.architecture);
    variables.set(`${prefix}VARIANT`, platform.variant ?? "");
  }
  return variables;
}

function formatPlatform(platform: Platform): string {
  return [platform.os, platform.architecture, platform.variant].filter(Boolean).join("/");
}

const ARCHITECTURES: Record<string, string> = {
  x86_64: "amd64",
  "x86-64": "amd64",
  aarch64: "arm64",
  armhf: "arm",
  i386: "386",
};

/** `os`, `architecture` or `os/architecture[/variant]`. */
export function parsePlatform(text: string, fallback: Platform): Platform {
  const parts = text.toLowerCase().split("/");
  if (parts.length > 3 || parts.some((part) => !/^[a-z0-9_.-]+$/.test(part)))
    throw invalidArgument(
      `failed to parse platform ${JSON.stringify(text)}: it is written OS/ARCHITECTURE, for example linux/amd64`,
    );
  if (parts.length === 1) {
    const only = parts[0]!;
    return only === "linux" || only === "windows"
      ? { ...fallback, os: only }
      : { os: fallback.os, architecture: ARCHITECTURES[only] ?? only };
  }
  const [os, architecture, variant] = parts as [string, string, string | undefined];
  return { os, architecture: ARCHITECTURES[architecture] ?? architecture, ...(variant ? { variant } : {}) };
}

function globalArguments(
  dockerfile: Dockerfile,
  globals: readonly Instruction[],
  given: PlanInput["buildArgs"],
  platformArgs: ReadonlyMap<string, string>,
): Map<string, string> {
  const values = new Map<string, string>();
  const { escape } = dockerfile.directives;
  for (const instruction of globals) {
    if (instruction.kind !== "arg") continue;
    for (const { name, value } of instruction.args) {
      const scope = new Map([...platformArgs, ...values]);
      const own =
        value === undefined ? undefined : located(dockerfile, instruction, () => expandWord(value, scope, { escape }));
      const result = given[name] ?? own ?? platformArgs.get(name);
      if (result !== undefined) values.set(name, result);
    }
  }
  return values;
}

function splitStages(
  dockerfile: Dockerfile,
  instructions: readonly Instruction[],
  scope: ReadonlyMap<string, string>,
  input: PlanInput,
): Stage[] {
  const stages: Stage[] = [];
  const starts = instructions.flatMap((instruction, index) => (instruction.kind === "from" ? [index] : []));
  for (const [index, start] of starts.entries()) {
    const from = instructions[start] as InstructionOf<"from">;
    const body = instructions.slice(start + 1, starts[index + 1] ?? instructions.length);
    const base = stageBase(dockerfile, from, stages, scope);
    const needs = new Set(body.flatMap((instruction) => references(dockerfile, instruction, stages, index)));
    if (base.kind === "stage") needs.add(base.index);
    stages.push({
      index,
      ...(from.alias ? { name: from.alias } : {}),
      base,
      platform: stagePlatform(dockerfile, from, scope, input),
      from,
      instructions: body,
      needs,
    });
  }
  return stages;
}

function stageBase(
  dockerfile: Dockerfile,
  from: InstructionOf<"from">,
  before: readonly Stage[],
  scope: ReadonlyMap<string, string>,
): StageBase {
  const unset: string[] = [];
  const reference = located(dockerfile, from, () =>
    expandWord(from.image, scope, { escape: dockerfile.directives.escape, onUnset: (name) => unset.push(name) }),
  );
  if (reference === "")
    throw at(
      dockerfile,
      from,
      `base name (${from.image}) should not be blank`,
      unset.length > 0
        ? `${unset.join(", ")} is not set: declare it with ARG before FROM, or give it with --build-arg.`
        : undefined,
    );
  const stage = findStage(before, reference);
  if (stage) return { kind: "stage", index: stage.index };
  return reference === "scratch" ? { kind: "scratch" } : { kind: "image", reference };
}

function stagePlatform(
  dockerfile: Dockerfile,
  from: InstructionOf<"from">,
  scope: ReadonlyMap<string, string>,
  input: PlanInput,
): Platform {
  if (from.platform === undefined) return input.targetPlatform;
  return located(dockerfile, from, () => {
    const text = expandWord(from.platform!, scope, { escape: dockerfile.directives.escape });
    if (text === "") throw invalidArgument(`empty platform value from expression ${from.platform}`);
    return parsePlatform(text, input.targetPlatform);
  });
}

/** The last stage of that name, as later ones hide earlier ones. */
function findStage(stages: readonly Stage[], name: string): Stage | undefined {
  return stages.findLast((stage) => stage.name === name.toLowerCase());
}

/** What `--from` means: a stage by name or number, or an image. */
export function resolveFrom(
  dockerfile: Dockerfile,
  instruction: Instruction,
  from: string,
  before: readonly Stage[],
  index: number,
): StageBase {
  const stage = findStage(before.slice(0, index), from);
  if (stage) return { kind: "stage", index: stage.index };
  if (/^\d+$/.test(from)) {
    if (Number(from) < index) return { kind: "stage", index: Number(from) };
    throw at(
      dockerfile,
      instruction,
      `invalid from flag value ${from}: ${Number(from) === index ? "refers to current build stage" : "no such stage before this one"}`,
    );
  }
  if (from.includes("$"))
    throw at(
      dockerfile,
      instruction,
      `'from' does not support variables: ${from}`,
      "Give the image a name of its own: FROM $IMAGE AS name.",
    );
  if (from === "scratch") return { kind: "scratch" };
  return { kind: "image", reference: from };
}

function references(
  dockerfile: Dockerfile,
  instruction: Instruction,
  before: readonly Stage[],
  index: number,
): number[] {
  const names: string[] = [];
  if (instruction.kind === "copy" && instruction.from !== undefined) names.push(instruction.from);
  if (instruction.kind === "run") names.push(...instruction.mounts.flatMap((mount) => mount.options["from"] ?? []));
  return names.flatMap((name) => {
    const base = resolveFrom(dockerfile, instruction, name, before, index);
    return base.kind === "stage" ? [base.index] : [];
  });
}

function findTarget(stages: readonly Stage[], target: string | undefined): number {
  if (!target) return stages.length - 1;
  const named = findStage(stages, target);
  if (named) return named.index;
  if (/^\d+$/.test(target) && Number(target) < stages.length) return Number(target);
  const names = stages.flatMap((stage) => stage.name ?? []);
  const meant = nearest(target, names);
  throw invalidArgument(`target stage ${JSON.stringify(target)} could not be found`, {
    hint: meant
      ? `Did you mean ${meant}?`
      : names.length > 0
        ? `The Dockerfile has ${names.join(", ")}.`
        : "The Dockerfile's stages have no names.",
  });
}

function closure(stages: readonly Stage[], target: number): number[] {
  const needed = new Set<number>();
  const visit = (index: number) => {
    if (needed.has(index)) return;
    needed.add(index);
    for (const before of stages[index]!.needs) visit(before);
  };
  visit(target);
  return [...needed].sort((a, b) => a - b);
}
