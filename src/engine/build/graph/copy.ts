/** COPY and ADD: find the sources, ask the cache, put them in place. */
import fs from "node:fs";
import path from "node:path";
import { expandWord, type CopyBody, type InstructionOf } from "../dockerfile/index.ts";
import { invalidArgument } from "../../../base/index.ts";
import { digestSelection, parseChmod, select, type CopyAttributes, type Selected } from "../context/select.ts";
import type { FileTree } from "../context/tree.ts";
import { isGit } from "../context/git.ts";
import { hasWildcard } from "../context/patterns.ts";
import { fetchRemote, fetchRepository, isArchive, isUrl, unpackLocal } from "./add.ts";
import { resolveOwner } from "./identity.ts";
import { place, planPlacement } from "./place.ts";
import type { BuildSession, MadeLayer } from "./session.ts";
import type { StageState } from "./state.ts";

export type CopyInstruction = InstructionOf<"copy"> | InstructionOf<"add">;

export interface CopyStep {
  readonly session: BuildSession;
  readonly state: StageState;
  readonly instruction: CopyInstruction;
  /** Where sources come from: the context, a stage, an image. */
  readonly tree: FileTree;
  readonly where: string;
  /** Sources are this build's own files, which may be linked. */
  readonly own: boolean;
  readonly onStart: () => void;
}

/** Throws notFound for absent sources, invalidArgument for flags that make no sense. */
export async function copyLayer(step: CopyStep): Promise<MadeLayer> {
  const { session, state } = step;
  const body = expandBody(step);
  const attributes = await copyAttributes(session, state, body);
  const { selected, fresh } = await gather(step, body);
  const destination = {
    path: state.resolve(body.destination),
    mustBeDirectory:
      body.parents ||
      several(selected) ||
      body.sources.some(hasWildcard) ||
      body.sources.length + body.inlineFiles.length > 1,
  };
  if (
    destination.mustBeDirectory &&
    several(selected) &&
    selected.some((item) => item.target === "" && !item.stat.isDirectory()) &&
    !body.destination.endsWith("/") &&
    body.sources.length > 1
  )
    throw invalidArgument(
      `When using ${step.instruction.kind.toUpperCase()} with more than one source file, the destination must be a directory and end with a /`,
    );
  const owner = attributes.owner ? [attributes.owner.uid, attributes.owner.gid] : null;
  const input = ["copy", destination, owner, await digestSelection(selected, attributes, session.signal)];
  const parent = body.link ? undefined : state.chainId;
  const made = await session.layer({
    input,
    parent,
    description: step.instruction.text,
    onStart: step.onStart,
    make: async (draft) => {
      const plan = await session.look(parent, (root) => planPlacement(root, selected, destination));
      await place(draft.upper, plan, {
        ...attributes,
        link: step.own || fresh,
        nowSeconds: session.nowMs() / 1000,
        signal: session.signal,
      });
    },
  });
  if (!body.link || state.chainId === undefined) return made;
  return { ...made, layer: await session.services.worker.restack(made.layer, state.chainId) };
}

/** Files at the top of the destination. */
function several(selected: readonly Selected[]): boolean {
  return selected.filter((item) => item.target === "" || !item.target.includes("/")).length > 1;
}

function expandBody({ instruction, state, session }: CopyStep): CopyBody {
  const variables = state.variables();
  const { escape } = session.plan.dockerfile.directives;
  const onUnset = session.undefinedVariable(instruction);
  const expand = (text: string) => expandWord(text, variables, { escape, onUnset });
  const optional = (text: string | undefined) => (text === undefined ? undefined : expand(text));
  const [chown, chmod, checksum] = [instruction.chown, instruction.chmod, instruction.checksum].map(optional);
  return {
    ...instruction,
    sources: instruction.sources.map(expand),
    destination: expand(instruction.destination),
    exclude: instruction.exclude.map(expand),
    ...(chown === undefined ? {} : { chown }),
    ...(chmod === undefined ? {} : { chmod }),
    ...(checksum === undefined ? {} : { checksum }),
    inlineFiles: instruction.inlineFiles.map((file) => ({
      ...file,
      name: expand(file.name),
      content: file.expand ? expandWord(file.content, variables, { escape, keepQuotes: true }) : file.content,
    })),
  };
}

/** Without `--chown` files keep the owner they have in the source; in a context that is root. */
async function copyAttributes(session: BuildSession, state: StageState, body: CopyBody): Promise<CopyAttributes> {
  const owner = body.chown ? await session.look(state.chainId, (root) => resolveOwner(root, body.chown!)) : undefined;
  return { owner, mode: body.chmod ? parseChmod(body.chmod) : undefined };
}

/** Everything that is to be copied. `fresh`: all of it was made for this step and may be linked. */
async function gather(step: CopyStep, body: CopyBody): Promise<{ selected: Selected[]; fresh: boolean }> {
  const { session, tree, where, instruction } = step;
  const options = { parents: body.parents, exclude: body.exclude, where };
  const selected: Selected[] = body.inlineFiles.flatMap((file) => inline(session, file));
  if (instruction.kind === "copy") {
    const remote = body.sources.find((source) => isUrl(source));
    if (remote) throw invalidArgument(`source can't be a URL for COPY: ${remote}`, { hint: "ADD takes URLs." });
    return { selected: [...selected, ...select(tree, body.sources, options)], fresh: false };
  }
  for (const source of body.sources) {
    if (isGit(source)) selected.push(...(await fetchRepository(session, source, body)));
    else if (isUrl(source)) selected.push(...(await fetchRemote(session, source, body)));
    else selected.push(...(await addLocal(step, select(tree, [source], options), body)));
  }
  return { selected, fresh: false };
}

/** ADD unpacks archives that it finds in the context. */
async function addLocal(step: CopyStep, found: readonly Selected[], body: CopyBody): Promise<Selected[]> {
  if (body.unpack === false) return [...found];
  const [only] = found;
  if (found.length !== 1 || !only?.stat.isFile() || !isArchive(path.join(only.tree.root, only.source)))
    return [...found];
  return await unpackLocal(step.session, only);
}

function inline(session: BuildSession, file: { name: string; content: string }): Selected[] {
  const root = session.scratchDir();
  fs.writeFileSync(path.join(root, "file"), file.content, { mode: 0o644 });
  const tree: FileTree = { root, digests: new Map() };
  return [
    {
      tree,
      source: "file",
      target: "",
      stat: fs.lstatSync(path.join(root, "file")),
      baseName: path.posix.basename(file.name),
    },
  ];
}
