import { createInterface } from "node:readline/promises";
import { failedPrecondition } from "../../base/index.ts";

/** Whether there is somebody to show colours and moving lines to. */
export function isTerminal(stream: NodeJS.WriteStream = process.stdout): boolean {
  return stream.isTTY === true && !process.env["NO_COLOR"] && process.env["TERM"] !== "dumb";
}

const paint = (code: number) => (text: string, stream?: NodeJS.WriteStream) =>
  isTerminal(stream) ? `\u001b[${code}m${text}\u001b[0m` : text;
export const bold = paint(1);
export const dim = paint(2);

export function print(line = ""): void {
  process.stdout.write(`${line}\n`);
}

/** Asks on the terminal; `--yes` answers for the user, and without either the command ends. */
export async function confirm(question: string, options: { yes?: boolean }): Promise<void> {
  if (options.yes) return;
  if (!process.stdin.isTTY) throw failedPrecondition(`${question} Nobody to ask`, { hint: "give --yes" });
  const prompt = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await prompt.question(`${question} [y/N] `);
    if (!/^y(es)?$/i.test(answer.trim())) throw failedPrecondition("canceled");
  } finally {
    prompt.close();
  }
}
