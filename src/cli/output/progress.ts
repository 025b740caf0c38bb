import { internal } from "../../base/index.ts";
import { size } from "./table.ts";
import { isTerminal, print } from "./terminal.ts";

/** Docker's progress message, as pull, push and build send it. */
export interface ProgressLine {
  readonly status?: string;
  readonly id?: string;
  readonly stream?: string;
  readonly progressDetail?: { readonly current?: number; readonly total?: number };
  readonly error?: string;
  readonly aux?: unknown;
}

const BAR_WIDTH = 30;

/** Shows progress messages to their end: a moving line per layer on a terminal, else only what changed. Throws what the daemon reports. */
export async function showProgress(
  lines: AsyncIterable<ProgressLine>,
  options: { quiet?: boolean } = {},
): Promise<unknown> {
  const rows = new Map<string, number>();
  const said = new Map<string, string>();
  const moving = isTerminal();
  let aux: unknown;
  for await (const line of lines) {
    if (line.error !== undefined) throw internal(line.error);
    if (line.aux !== undefined) aux = line.aux;
    if (options.quiet) continue;
    if (line.stream !== undefined) process.stdout.write(line.stream);
    else if (line.status !== undefined && line.id === undefined) print(line.status);
    else if (line.id !== undefined && moving)
      redraw(rows, line.id, `${line.id}: ${line.status ?? ""} ${bar(line.progressDetail)}`);
    else if (line.id !== undefined && said.get(line.id) !== line.status) {
      said.set(line.id, line.status ?? "");
      print(`${line.id}: ${line.status ?? ""}`);
    }
  }
  return aux;
}

function redraw(rows: Map<string, number>, id: string, text: string): void {
  if (!rows.has(id)) {
    rows.set(id, rows.size);
    process.stdout.write("\n");
  }
  const up = rows.size - rows.get(id)!;
  process.stdout.write(`\u001b[${up}A\r\u001b[2K${text.slice(0, (process.stdout.columns ?? 80) - 1)}\u001b[${up}B\r`);
}

function bar(detail: ProgressLine["progressDetail"]): string {
  if (!detail?.total || detail.current === undefined) return "";
  const done = Math.min(BAR_WIDTH, Math.round((detail.current / detail.total) * BAR_WIDTH));
  return `[${"=".repeat(done)}${" ".repeat(BAR_WIDTH - done)}] ${size(detail.current)}/${size(detail.total)}`;
}
