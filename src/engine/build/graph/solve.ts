/**
 * Walks the graph: every stage that is needed, each after those it needs, side by side where nothing stands between them. Within a stage one step
 * after the other, changing the stage's state.
 */
import type { OciImageConfig } from "../../../api/index.ts";
import { BerthError, canceled, codeOf, messageOf, rfc3339Nano } from "../../../base/index.ts";
import { shortId } from "../../image/index.ts";
import { lstat, resolveInRoot, type FileTree } from "../context/tree.ts";
import { expandWord, expandWords, parseDockerfile, type Instruction, type InstructionOf } from "../dockerfile/index.ts";
import type { BaseImage } from "../worker/worker.ts";
import type { Platform, Vertex } from "../types.ts";
import { copyLayer } from "./copy.ts";
import { resolveOwner } from "./identity.ts";
import { runLayer } from "./run.ts";
import { StepReporter, type BuildSession, type MadeLayer } from "./session.ts";
import { at, located, resolveFrom, type Stage, type StageBase } from "./stages.ts";
import { checkSignal, PREDEFINED_ARGS, StageState } from "./state.ts";
import fs from "node:fs";
import path from "node:path";

export interface Solution {
  readonly state: StageState;
  readonly warnings: readonly string[];
}

/** Throws what the first failing step threw; the other stages are stopped. */
export async function solve(session: BuildSession): Promise<Solution> {
  return await new Solver(session).run();
}

class Solver {
  readonly #session: BuildSession;
  readonly #stages = new Map<number, Promise<StageState>>();
  readonly #images = new Map<string, Promise<BaseImage>>();
  readonly #warnings: string[] = [];
  readonly #consumed = new Set<string>();
  /** First vertex id of each stage. */
  readonly #firstId = new Map<number, number>();

  constructor(session: BuildSession) {
    this.#session = session;
  }

  async run(): Promise<Solution> {
    const { plan, request } = this.#session;
    this.#number();
    for (const instruction of plan.globals) this.#global(instruction);
    const needed = plan.needed.map((index) => this.stage(index));
    for (const stage of needed) stage.catch((error: unknown) => this.#session.abort(error));
    // All of them end before the build does, so that nothing is left running.
    const results = await Promise.allSettled(needed);
    const failures = results.flatMap((result) => (result.status === "rejected" ? [result.reason as unknown] : []));
    const failure = failures.find((error) => codeOf(error) !== "canceled") ?? failures[0];
    if (failure !== undefined) throw failure;
    const unused = Object.keys(request.buildArgs ?? {}).filter(
      (name) => !this.#consumed.has(name) && !PREDEFINED_ARGS.has(name),
    );
    const ignorable = new Set(["SOURCE_DATE_EPOCH", "BUILDKIT_INLINE_CACHE", "BUILDKIT_SYNTAX"]);
    const surprising = unused.filter((name) => !ignorable.has(name));
    if (surprising.length > 0) this.#warn(`One or more build-args [${surprising.join(" ")}] were not consumed`);
    return { state: await this.stage(plan.target), warnings: this.#warnings };
  }

  #warn(message: string): void {
    this.#warnings.push(message);
    this.#session.emit({ kind: "warning", message });
  }

  #number(): void {
    const { plan } = this.#session;
    let next = plan.globals.length + 1;
    for (const index of plan.needed) {
      this.#firstId.set(index, next);
      next += plan.stages[index]!.instructions.length + 1;
    }
    this.#session.emit({ kind: "plan", steps: next - 1 });
  }

  #global(instruction: Instruction): void {
    const id = this.#session.plan.globals.indexOf(instruction) + 1;
    const reporter = new StepReporter(this.#session, { id, name: instruction.text });
    if (instruction.kind === "arg") for (const { name } of instruction.args) this.#consumed.add(name);
    reporter.done();
  }

  stage(index: number): Promise<StageState> {
    let solving = this.#stages.get(index);
    if (!solving) {
      solving = this.#solveStage(this.#session.plan.stages[index]!);
      this.#stages.set(index, solving);
    }
    return solving;
  }

  async #solveStage(stage: Stage): Promise<StageState> {
    const state = await this.#step(stage, undefined, stage.from, 0, () => this.#base(stage));
    const triggers = state.config.OnBuild ?? [];
    delete state.config.OnBuild;
    for (const trigger of triggers) await this.#trigger(stage, state, trigger);
    for (const [index, instruction] of stage.instructions.entries()) {
      await this.#step(stage, state, instruction, index + 1, (reporter) =>
        this.#execute(stage, state, instruction, reporter),
      );
    }
    return state;
  }

  /** Reports a step, and gives its errors a place. */
  async #step<T>(
    stage: Stage,
    state: StageState | undefined,
    instruction: Instruction,
    step: number,
    task: (reporter: StepReporter) => Promise<T>,
  ): Promise<T> {
    const { signal } = this.#session;
    if (signal.aborted) throw asCanceled(signal.reason);
    const vertex: Vertex = {
      id: this.#firstId.get(stage.index)! + step,
      name: instruction.text,
      stage: {
        index: stage.index,
        ...(stage.name ? { name: stage.name } : {}),
        step: step + 1,
        steps: stage.instructions.length + 1,
      },
    };
    const reporter = new StepReporter(this.#session, vertex);
    try {
      const result = await task(reporter);
      const after = state ?? (result as StageState);
      reporter.done(this.#shownId(stage, step, after));
      return result;
    } catch (error) {
      const failure =
        signal.aborted && codeOf(error) !== "canceled" ? asCanceled(error) : this.#locate(instruction, error);
      reporter.failed(failure);
      throw failure;
    }
  }

  /** What the classic stream shows of a step: the image's own id at both ends of the build, between them one of the step's own. */
  #shownId(stage: Stage, step: number, state: StageState): string | undefined {
    const isLast = stage.index === this.#session.plan.target && step === stage.instructions.length;
    if (isLast) return undefined;
    if (step === 0 && stage.base.kind === "scratch") return "";
    if (step === 0 && stage.base.kind === "image") return shortId(state.parentImage!);
    return this.#session.keyOf([state.image(), state.chainId ?? null]).slice(0, 12);
  }

  #locate(instruction: Instruction, error: unknown): unknown {
    if (
      !(error instanceof BerthError) ||
      !["invalidArgument", "notFound"].includes(error.code) ||
      error.details["line"] !== undefined
    )
      return error;
    const place = at(this.#session.plan.dockerfile, instruction, messageOf(error), error.hint);
    const { line, column } = place.details;
    const text = place.message.replace(/^dockerfile parse error on line \d+: /, "");
    return new BerthError(error.code, text, {
      cause: error,
      details: { ...error.details, line, column },
    });
  }

  async #trigger(stage: Stage, state: StageState, trigger: string): Promise<void> {
    const parsed = parseDockerfile(trigger, `ONBUILD trigger of ${stage.from.image}`);
    const instruction = parsed.instructions[0]!;
    const reporter = new StepReporter(this.#session, {
      id: this.#firstId.get(stage.index)!,
      name: `ONBUILD ${instruction.text}`,
    });
    await this.#execute(stage, state, instruction, reporter);
    reporter.done();
  }

  async #base(stage: Stage): Promise<StageState> {
    const { base, platform } = stage;
    if (base.kind === "scratch") return new StageState({ platform });
    if (base.kind === "stage") return (await this.stage(base.index)).fork(platform);
    const image = await this.#image(base.reference, platform, this.#firstId.get(stage.index)!);
    if (image.chainId) this.#session.hold(image.chainId);
    return new StageState({
      platform: imagePlatform(image, platform),
      config: image.config,
      chainId: image.chainId,
      parentImage: image.id,
    });
  }

  #image(reference: string, platform: Platform, vertexId: number): Promise<BaseImage> {
    const key = `${reference} ${platform.os}/${platform.architecture}/${platform.variant ?? ""}`;
    let image = this.#images.get(key);
    if (!image) {
      const { request, signal, services } = this.#session;
      image = services.worker.image(reference, {
        platform,
        pull: request.pull ?? false,
        signal,
        ...(request.registryAuth ? { registryAuth: request.registryAuth } : {}),
        onPull: (line) => this.#session.emit({ kind: "pull", vertex: { id: vertexId, name: reference }, line }),
      });
      this.#images.set(key, image);
    }
    return image;
  }

  /** The files that `--from` means; the context without it. */
  async #source(
    stage: Stage,
    instruction: Instruction,
    from: string | undefined,
  ): Promise<{ tree: FileTree; where: string; isContext: boolean }> {
    if (from === undefined) return { tree: this.#session.context, where: "the build context", isContext: true };
    const base = resolveFrom(this.#session.plan.dockerfile, instruction, from, this.#session.plan.stages, stage.index);
    const chainId = await this.#chainOf(base, stage);
    return {
      tree: await this.#session.tree(chainId),
      where: base.kind === "stage" ? `stage ${from}` : `image ${from}`,
      isContext: false,
    };
  }

  async #chainOf(base: StageBase, stage: Stage): Promise<string | undefined> {
    if (base.kind === "scratch") return undefined;
    if (base.kind === "stage") return (await this.stage(base.index)).chainId;
    const image = await this.#image(base.reference, stage.platform, this.#firstId.get(stage.index)!);
    if (image.chainId) this.#session.hold(image.chainId);
    return image.chainId;
  }

  async #execute(stage: Stage, state: StageState, instruction: Instruction, reporter: StepReporter): Promise<void> {
    const { dockerfile } = this.#session.plan;
    switch (instruction.kind) {
      case "run":
        return this.#layered(state, instruction.text, reporter, await this.#run(stage, state, instruction, reporter));
      case "copy":
      case "add":
        return this.#layered(state, instruction.text, reporter, await this.#copy(stage, state, instruction));
      case "workdir":
        return await this.#workdir(state, instruction, reporter);
      default:
        located(dockerfile, instruction, () => this.#metadata(state, instruction));
        this.#history(state, instruction.text);
    }
  }

  async #run(
    stage: Stage,
    state: StageState,
    instruction: InstructionOf<"run">,
    reporter: StepReporter,
  ): Promise<MadeLayer> {
    return await runLayer({
      session: this.#session,
      state,
      instruction,
      source: (from) => this.#source(stage, instruction, from),
      onStart: (id) => reporter.output("stdout", ` ---> Running in ${id.slice(0, 12)}\n`),
      onOutput: (stream, text) => reporter.output(stream, text),
    });
  }

  async #copy(
    stage: Stage,
    state: StageState,
    instruction: InstructionOf<"copy"> | InstructionOf<"add">,
  ): Promise<MadeLayer> {
    const source = await this.#source(stage, instruction, instruction.from);
    return await copyLayer({
      session: this.#session,
      state,
      instruction,
      tree: source.tree,
      where: source.where,
      own: source.isContext,
      onStart: () => {},
    });
  }

  async #workdir(state: StageState, instruction: InstructionOf<"workdir">, reporter: StepReporter): Promise<void> {
    const { escape } = this.#session.plan.dockerfile.directives;
    const onUnset = this.#session.undefinedVariable(instruction);
    located(this.#session.plan.dockerfile, instruction, () =>
      state.setWorkdir(expandWord(instruction.path, state.variables(), { escape, onUnset })),
    );
    const target = state.workdir;
    const missing = await this.#session.look(
      state.chainId,
      (root) => !lstat(path.join(root, resolveInRoot(root, target))),
    );
    if (!missing) return this.#history(state, instruction.text);
    const user = state.config.User ?? "";
    const made = await this.#session.layer({
      input: ["workdir", target, user],
      parent: state.chainId,
      description: instruction.text,
      make: async (draft) => {
        const root = await draft.mount();
        const owner = user === "" ? undefined : resolveOwner(root, user);
        makeDirectories(root, resolveInRoot(root, target), owner);
      },
    });
    this.#layered(state, instruction.text, reporter, made);
  }

  /** Instructions that change the configuration only. */
  #metadata(state: StageState, instruction: Instruction): void {
    const { escape } = this.#session.plan.dockerfile.directives;
    const variables = state.variables();
    const onUnset = this.#session.undefinedVariable(instruction);
    const expand = (text: string) => expandWord(text, variables, { escape, onUnset });
    switch (instruction.kind) {
      case "arg":
        for (const { name, value } of instruction.args) this.#arg(state, name, value);
        return;
      case "env":
        for (const { key, value } of instruction.pairs) state.setEnv(expand(key), expand(value));
        return;
      case "label":
        for (const { key, value } of instruction.pairs) state.setLabel(expand(key), expand(value));
        return;
      case "maintainer":
        state.author = instruction.name;
        return;
      case "user":
        state.config.User = expand(instruction.user);
        return;
      case "expose":
        return state.expose(expandWords(instruction.ports, variables, { escape, onUnset }));
      case "volume":
        for (const name of instruction.paths) state.addVolume(expand(name));
        return;
      case "cmd":
        return state.setCmd(instruction.command);
      case "entrypoint":
        return state.setEntrypoint(instruction.command);
      case "shell":
        state.config.Shell = [...instruction.args];
        return;
      case "stopsignal":
        state.config.StopSignal = checkSignal(expand(instruction.signal));
        return;
      case "healthcheck":
        return state.setHealthcheck(instruction);
      case "onbuild":
        return state.addTrigger(instruction.trigger);
      default:
        throw new BerthError("internal", `assertion failed: ${instruction.kind} is no metadata instruction`);
    }
  }

  /** Given by the user, else the default, else what an ARG before FROM or the platform says. */
  #arg(state: StageState, name: string, fallback: string | undefined): void {
    const { plan, request } = this.#session;
    this.#consumed.add(name);
    const scope = state.variables();
    const own =
      fallback === undefined ? undefined : expandWord(fallback, scope, { escape: plan.dockerfile.directives.escape });
    const value = request.buildArgs?.[name] ?? own ?? plan.globalArgs.get(name) ?? plan.platformArgs.get(name);
    if (value !== undefined) state.args.set(name, value);
  }

  #layered(state: StageState, text: string, reporter: StepReporter, made: MadeLayer): void {
    if (made.cached) reporter.cached();
    state.chainId = made.layer.chainId;
    state.createdMs = made.createdMs;
    state.history.push({ created: timestamp(made.createdMs), created_by: text, comment: "berth" });
  }

  #history(state: StageState, text: string): void {
    const created = timestamp(state.createdMs || this.#session.nowMs());
    state.history.push({ created, created_by: text, comment: "berth", empty_layer: true });
  }
}

function timestamp(ms: number): string {
  return rfc3339Nano(ms);
}

function imagePlatform(image: BaseImage, fallback: Platform): Platform {
  const { os, architecture, variant } = image.config as OciImageConfig;
  return {
    os: os || fallback.os,
    architecture: architecture || fallback.architecture,
    ...(variant ? { variant } : {}),
  };
}

function makeDirectories(root: string, name: string, owner: { uid: number; gid: number } | undefined): void {
  const parts = name.split("/");
  for (let depth = 1; depth <= parts.length; depth++) {
    const directory = path.join(root, ...parts.slice(0, depth));
    if (lstat(directory)) continue;
    fs.mkdirSync(directory, 0o755);
    fs.chmodSync(directory, 0o755);
    if (owner) fs.chownSync(directory, owner.uid, owner.gid);
  }
}

function asCanceled(reason: unknown): BerthError {
  return canceled("the build was canceled", { cause: reason });
}
