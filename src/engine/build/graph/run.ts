/** RUN: what the process gets (command line, variables, mounts), the cache key of it all, and the running. */
import fs from "node:fs";
import path from "node:path";
import { StringDecoder } from "node:string_decoder";
import type { OciMount } from "../../../api/index.ts";
import { failedPrecondition, invalidArgument, notFound } from "../../../base/index.ts";
import { dockerfileError, expandWord, type InstructionOf } from "../dockerfile/index.ts";
import { digestSelection, select } from "../context/select.ts";
import { lstat, resolveInRoot, type FileTree } from "../context/tree.ts";
import type { Draft } from "../worker/worker.ts";
import type { BuildSession, MadeLayer } from "./session.ts";
import { DEFAULT_PATH, PREDEFINED_ARGS, type StageState } from "./state.ts";

export interface RunStep {
  readonly session: BuildSession;
  readonly state: StageState;
  readonly instruction: InstructionOf<"run">;
  /** The tree that a mount's `from` names; without it the context. */
  readonly source: (from: string | undefined) => Promise<{ tree: FileTree; where: string; isContext: boolean }>;
  readonly onStart: (id: string) => void;
  readonly onOutput: (stream: "stdout" | "stderr", text: string) => void;
}

/** Throws failedPrecondition with `details.exitCode` when the command fails. */
export async function runLayer(step: RunStep): Promise<MadeLayer> {
  const { session, state, instruction } = step;
  const id = session.uniqueId();
  const { args, script } = commandOf(step);
  const { env, keyEnv } = environment(step);
  const mounts = await Promise.all(instruction.mounts.map((mount) => describeMount(step, mount)));
  const network =
    instruction.network && instruction.network !== "default"
      ? instruction.network
      : (session.request.networkMode ?? "default");
  const user = state.config.User || undefined;
  const facts = {
    args,
    script: script ?? null,
    keyEnv,
    cwd: state.workdir,
    user: user ?? null,
    network,
    security: instruction.security ?? "sandbox",
  };
  const input = ["run", facts, session.request.extraHosts ?? [], mounts.map((mount) => mount.key)];
  const execute = async (draft: Draft) => {
    const exitCode = await session.services.runs.run(
      () =>
        withMounts(mounts, async (ociMounts, mountEnv) => {
          const root = await draft.mount();
          const stubs = new MountStubs(root, [...ociMounts.map((mount) => mount.destination), ...RUNTIME_MOUNTPOINTS]);
          const decoders = { stdout: new StringDecoder("utf8"), stderr: new StringDecoder("utf8") };
          try {
            return await draft.run(
              {
                id,
                args,
                env: [...env, ...mountEnv],
                cwd: state.workdir,
                user,
                mounts: script === undefined ? ociMounts : [...ociMounts, scriptMount(session, script)],
                network,
                extraHosts: session.request.extraHosts ?? [],
                insecure: instruction.security === "insecure",
                resources: session.request.resources,
                onOutput: (stream, chunk) => {
                  const text = decoders[stream].write(chunk);
                  if (text !== "") step.onOutput(stream, text);
                },
              },
              session.signal,
            );
          } finally {
            stubs.remove();
          }
        }),
      session.signal,
    );
    if (exitCode !== 0) throw commandFailed(args, exitCode);
  };
  return await session.layer({
    input,
    parent: state.chainId,
    description: instruction.text,
    make: execute,
    onStart: () => step.onStart(id),
  });
}

function commandFailed(args: readonly string[], exitCode: number) {
  return failedPrecondition(`The command '${args.join(" ")}' returned a non-zero code: ${exitCode}`, {
    details: { exitCode },
  });
}

/** Where a here-document that begins with `#!` is put to be executed. */
const SCRIPT_PATH = "/dev/berth-script";

/** https://docs.docker.com/reference/dockerfile/#here-documents */
function commandOf({ instruction, state }: RunStep): { args: string[]; script?: string } {
  const { command, heredocs } = instruction;
  if (heredocs.length === 0) return { args: state.argv(command) };
  const line = command.args[0]!.trim();
  const [only] = heredocs;
  const bare = heredocs.length === 1 && new RegExp(`^\\d*<<-?(["']?)${escapeRegex(only!.name)}\\1$`).test(line);
  if (!bare) {
    const documents = heredocs.map((heredoc) => `${heredoc.content}${heredoc.name}\n`).join("");
    return { args: [...state.shell, `${line}\n${documents}`] };
  }
  if (only!.content.startsWith("#!")) return { args: [SCRIPT_PATH], script: only!.content };
  return { args: [...state.shell, only!.content] };
}

function escapeRegex(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&");
}

function scriptMount(session: BuildSession, script: string): OciMount {
  const file = path.join(session.scratchDir(), "script");
  fs.writeFileSync(file, script, { mode: 0o755 });
  return { destination: SCRIPT_PATH, type: "bind", source: file, options: ["bind", "ro"] };
}

/** ARGs and ENVs; and that part of them which counts for the cache. */
function environment({ session, state }: RunStep): { env: string[]; keyEnv: string[] } {
  const variables = state.variables();
  if (!variables.has("PATH")) variables.set("PATH", DEFAULT_PATH);
  const keyEnv = [...variables].map(([name, value]) => `${name}=${value}`).sort();
  for (const [name, value] of Object.entries(session.request.buildArgs ?? {})) {
    if (PREDEFINED_ARGS.has(name) && value !== undefined && !variables.has(name)) variables.set(name, value);
  }
  return { env: [...variables].map(([name, value]) => `${name}=${value}`), keyEnv };
}

interface PreparedMount {
  /** What of it counts for the cache. */
  readonly key: unknown;
  use<T>(task: (mounts: readonly OciMount[], env: readonly string[]) => Promise<T>): Promise<T>;
}

async function withMounts<T>(
  mounts: readonly PreparedMount[],
  task: (mounts: OciMount[], env: string[]) => Promise<T>,
): Promise<T> {
  const enter = async (index: number, ready: OciMount[], env: string[]): Promise<T> => {
    const mount = mounts[index];
    if (!mount) return await task(ready, env);
    return await mount.use((more, moreEnv) => enter(index + 1, [...ready, ...more], [...env, ...moreEnv]));
  };
  return await enter(0, [], []);
}

type MountInstruction = InstructionOf<"run">["mounts"][number];

async function describeMount(step: RunStep, mount: MountInstruction): Promise<PreparedMount> {
  const { session, state } = step;
  const { escape } = session.plan.dockerfile.directives;
  const variables = state.variables();
  const options = Object.fromEntries(
    Object.entries(mount.options).map(([key, value]) => [
      key,
      key === "from" ? value : expandWord(value, variables, { escape }),
    ]),
  );
  const target = options["target"] === undefined ? undefined : path.posix.resolve(state.workdir, options["target"]);
  const described = { step, mount, options, target: target ?? "" };
  switch (mount.type) {
    case "bind":
      return await bindMount(described);
    case "cache":
      return cacheMount(described);
    case "tmpfs":
      return tmpfsMount(described);
    case "secret":
      return secretMount(described, target);
    case "ssh":
      return sshMount(described, target);
  }
}

interface Described {
  readonly step: RunStep;
  readonly mount: MountInstruction;
  readonly options: Readonly<Record<string, string>>;
  readonly target: string;
}

function isTrue(value: string | undefined): boolean {
  return value === "true" || value === "1";
}

async function bindMount({ step, options, target }: Described): Promise<PreparedMount> {
  const { tree, where, isContext } = await step.source(options["from"]);
  const source = options["source"] ?? "/";
  const [selected, real] = [select(tree, [source], { where }), resolveInRoot(tree.root, source)];
  const digest = await digestSelection(selected, { owner: undefined, mode: undefined }, step.session.signal);
  const writable = isTrue(options["readwrite"]) || options["readonly"] === "false";
  return {
    key: ["bind", target, writable, digest],
    use: async (task) => {
      // What a step writes into a bind mount is thrown away, so it gets a copy; a context with ignored files too.
      const copy = writable || (isContext && tree.ignored !== undefined);
      const from = copy ? await copyTree(step.session, selected) : path.join(tree.root, real);
      const only = selected.length === 1 && !selected[0]!.stat.isDirectory();
      const file = copy && only ? path.join(from, selected[0]!.baseName) : from;
      return await task(
        [{ destination: target, type: "bind", source: file, options: ["rbind", ...(writable ? [] : ["ro"])] }],
        [],
      );
    },
  };
}

async function copyTree(session: BuildSession, selected: ReturnType<typeof select>): Promise<string> {
  const { place, planPlacement } = await import("./place.ts");
  const root = session.scratchDir();
  const plan = planPlacement(root, selected, { path: "/", mustBeDirectory: true });
  await place(root, plan, {
    owner: undefined,
    mode: undefined,
    link: false,
    nowSeconds: session.nowMs() / 1000,
    signal: session.signal,
  });
  return root;
}

function cacheMount({ step, options, target }: Described): PreparedMount {
  const id = options["id"] ?? target;
  const mode = Number.parseInt(options["mode"] ?? "0755", 8);
  const { mounts } = step.session.services;
  return {
    key: ["cache", target, id],
    use: (task) =>
      mounts.use(
        {
          id,
          mode,
          sharing: (options["sharing"] ?? "shared") as "shared" | "private" | "locked",
          uid: Number(options["uid"] ?? 0),
          gid: Number(options["gid"] ?? 0),
          ...(options["from"] ? { seed: (directory: string) => seedCache(step, options, directory) } : {}),
        },
        (directory) =>
          task(
            [
              {
                destination: target,
                type: "bind",
                source: directory,
                options: ["rbind", ...(isTrue(options["readonly"]) ? ["ro"] : [])],
              },
            ],
            [],
          ),
      ),
  };
}

async function seedCache(step: RunStep, options: Readonly<Record<string, string>>, directory: string): Promise<void> {
  const { place, planPlacement } = await import("./place.ts");
  const { tree, where } = await step.source(options["from"]);
  const plan = planPlacement(directory, select(tree, [options["source"] ?? "/"], { where }), {
    path: "/",
    mustBeDirectory: true,
  });
  await place(directory, plan, {
    owner: undefined,
    mode: undefined,
    link: false,
    nowSeconds: step.session.nowMs() / 1000,
  });
}

function tmpfsMount({ options, target }: Described): PreparedMount {
  const size = options["size"];
  if (size !== undefined && !/^\d+[kmg]?$/i.test(size))
    throw invalidArgument(`invalid size ${JSON.stringify(size)} of a tmpfs mount`);
  return {
    key: ["tmpfs", target, size ?? null],
    use: (task) =>
      task(
        [
          {
            destination: target,
            type: "tmpfs",
            source: "tmpfs",
            options: ["nosuid", "nodev", ...(size ? [`size=${size}`] : [])],
          },
        ],
        [],
      ),
  };
}

function secretMount({ step, mount, options }: Described, wanted: string | undefined): PreparedMount {
  const id = options["id"] ?? path.posix.basename(wanted!);
  const variable = options["env"];
  const target = wanted ?? (variable ? undefined : `/run/secrets/${id}`);
  const secret = step.session.request.secrets?.[id];
  const { source } = step.session.plan.dockerfile;
  if (!secret && isTrue(options["required"]))
    throw dockerfileError(source, mount.position, `secret ${id}: not found`, {
      length: "--mount".length,
      hint: `Give it with --secret id=${id},src=FILE.`,
    });
  return {
    // The content isn't part of the key: a new password doesn't rebuild the image.
    key: ["secret", target ?? null, id, variable ?? null, secret !== undefined],
    use: async (task) => {
      if (!secret) return await task([], []);
      const env = variable ? [`${variable}=${Buffer.from(secret).toString("utf8")}`] : [];
      if (!target) return await task([], env);
      const directory = fs.mkdtempSync(path.join(step.session.services.worker.volatileDir, "secret-"));
      const file = path.join(directory, "secret");
      try {
        fs.writeFileSync(file, secret, { mode: 0o600 });
        fs.chmodSync(file, Number.parseInt(options["mode"] ?? "0400", 8));
        if (process.getuid?.() === 0) fs.chownSync(file, Number(options["uid"] ?? 0), Number(options["gid"] ?? 0));
        return await task([{ destination: target, type: "bind", source: file, options: ["bind", "ro"] }], env);
      } finally {
        fs.rmSync(directory, { recursive: true, force: true });
      }
    },
  };
}

function sshMount({ step, mount, options }: Described, wanted: string | undefined): PreparedMount {
  const id = options["id"] ?? "default";
  const target = wanted ?? "/run/buildkit/ssh_agent.0";
  const socket = step.session.request.sshSockets?.[id];
  if (!socket && isTrue(options["required"]))
    throw dockerfileError(
      step.session.plan.dockerfile.source,
      mount.position,
      `no SSH agent ${JSON.stringify(id)} was given`,
      { length: "--mount".length, hint: `Give it with --ssh ${id}.` },
    );
  if (socket && !lstat(socket)?.isSocket())
    throw notFound(`SSH agent ${JSON.stringify(id)}: ${socket} is not a socket`);
  return {
    key: ["ssh", target, id, socket !== undefined],
    use: (task) =>
      socket
        ? task([{ destination: target, type: "bind", source: socket, options: ["bind"] }], [`SSH_AUTH_SOCK=${target}`])
        : task([], []),
  };
}

/** Places where the runtime itself mounts something, and makes the mount point when the image has none. */
const RUNTIME_MOUNTPOINTS = ["/proc", "/sys", "/dev", "/etc/resolv.conf", "/etc/hosts", "/etc/hostname", SCRIPT_PATH];

/** Mount points that a step's mounts needed are not what the step made: those that are still empty go again. */
class MountStubs {
  readonly #root: string;
  /** Missing paths, outermost first. */
  readonly #missing = new Set<string>();

  constructor(root: string, destinations: readonly string[]) {
    this.#root = root;
    for (const destination of destinations) {
      const parts = resolveInRoot(root, destination).split("/");
      for (let depth = 1; depth <= parts.length; depth++) {
        const name = parts.slice(0, depth).join("/");
        if (!lstat(path.join(root, name))) this.#missing.add(name);
      }
    }
  }

  remove(): void {
    for (const name of [...this.#missing].sort((a, b) => b.length - a.length)) {
      const file = path.join(this.#root, name);
      const stat = lstat(file);
      try {
        if (stat?.isDirectory()) fs.rmdirSync(file);
        else if (stat?.isFile() && stat.size === 0) fs.unlinkSync(file);
      } catch {
        // Not empty: the step used it, so it stays.
      }
    }
  }
}
