/**
 * Golden transcripts: a file of commands with the output that a user sees, run anew and compared. The command is part of the file,
 * so a new case is a line in it. `BERTH_UPDATE_GOLDEN=1` writes what came instead; look at the diff.
 *
 *     # A comment, kept as it is.
 *     $ kubectl create namespace a
 *     namespace/a created
 *
 *     $ kubectl apply -f - <<END        continued lines begin with "> "
 *     > kind: ConfigMap
 *     > END
 *     configmap/x created
 *
 *     ~ kubectl get pods                run again until it reads like this: what controllers bring about
 *     $ kubectl get x
 *     exit 1                            stands after the output of a command that fails
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";

const EVENTUALLY_MS = process.env["BERTH_UPDATE_GOLDEN"] === "1" ? 3_000 : 15_000;
const COMMAND_MS = 30_000;
const PAUSE_MS = 50;
const updating = process.env["BERTH_UPDATE_GOLDEN"] === "1";

interface Step {
  readonly kind: "command" | "comment";
  readonly eventually: boolean;
  /** As it stands in the file, marks included. */
  readonly source: string;
  readonly command: string;
  readonly expected: string;
}

export interface TranscriptOptions {
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string;
  /** Makes the output the same each time; see `steady`. */
  readonly steady: (output: string) => string;
}

/** Runs a transcript and throws an AssertionError at the first command that reads otherwise. */
export async function runTranscript(file: string, options: TranscriptOptions): Promise<void> {
  const steps = parseTranscript(await readFile(file, "utf8"));
  const written: string[] = [];
  for (const step of steps) {
    if (step.kind === "comment") {
      written.push(step.source);
      continue;
    }
    const actual = await outputOf(step, options);
    written.push([step.source, actual].filter((part) => part !== "").join("\n"));
    if (!updating) assert.equal(actual, step.expected, `${file}: ${step.command}`);
  }
  if (updating) await writeFile(file, `${written.join("\n\n")}\n`);
}

async function outputOf(step: Step, options: TranscriptOptions): Promise<string> {
  const deadline = Date.now() + EVENTUALLY_MS;
  for (;;) {
    const actual = options.steady(await run(step.command, options));
    if (!step.eventually || actual === step.expected || Date.now() > deadline) return actual;
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
}

/** Both streams in the order they came, then `exit N` when the command failed. */
function run(command: string, { env, cwd }: TranscriptOptions): Promise<string> {
  return new Promise((resolve) => {
    const script = `exec 2>&1\n${command}\n`;
    const child = execFile("bash", ["-c", script], { env, cwd, timeout: COMMAND_MS }, (error, stdout) => {
      const code = error ? `\nexit ${error.code ?? error.signal}` : "";
      resolve(`${stdout.trimEnd()}${code}`.replace(/^\n/, ""));
    });
    child.stdin!.end();
  });
}

/** Comments and commands, each with the lines up to the next of either. */
export function parseTranscript(text: string): Step[] {
  const steps: { mark: string; source: string[]; expected: string[] }[] = [];
  let afterBlank = true;
  for (const line of text.split("\n")) {
    const mark = /^([$~#]) /.exec(line)?.[1];
    const last = steps.at(-1);
    const continues = last?.expected.length === 0 && (line.startsWith("> ") || line === ">" || last.mark === "#");
    // Output may begin with "# " too; a comment stands by itself.
    if (mark !== undefined && afterBlank) steps.push({ mark, source: [line], expected: [] });
    else if (continues && line !== "") last.source.push(line);
    else last?.expected.push(line);
    afterBlank = line === "";
  }
  return steps.map(({ mark, source, expected }) => ({
    kind: mark === "#" ? "comment" : "command",
    eventually: mark === "~",
    source: source.join("\n"),
    command: source.map((line) => line.slice(2)).join("\n"),
    expected: expected.join("\n").trimEnd(),
  }));
}
