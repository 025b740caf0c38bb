import type { AnyObject, KubeClient } from "../../client/index.ts";
import { table } from "../output/table.ts";

/** meta.k8s.io/v1 Table: the server says what columns a kind has. */
export interface Table {
  readonly kind: string;
  readonly columnDefinitions: ReadonlyArray<{ name: string; priority: number }>;
  readonly rows?: ReadonlyArray<{ cells: readonly unknown[]; object: AnyObject }>;
}

const AS_TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

export interface TableOptions {
  /** Columns of lower priority too. */
  readonly wide?: boolean;
  readonly withNamespace?: boolean;
  readonly showLabels?: boolean;
  /** Before the names: `deployment.apps/`. */
  readonly prefix?: string;
}

export async function fetchTable(client: KubeClient, path: string, query: Record<string, string> = {}): Promise<Table> {
  const response = await client.send({
    method: "GET",
    path,
    query: new URLSearchParams(query),
    headers: { accept: AS_TABLE },
  });
  return JSON.parse(Buffer.from(response.body!).toString()) as Table;
}

export function renderTable(answer: Table, options: TableOptions = {}): string {
  const shown = answer.columnDefinitions.flatMap(({ priority }, at) => (priority === 0 || options.wide ? [at] : []));
  const head = shown.map((at) => answer.columnDefinitions[at]!.name.toUpperCase());
  const rows = (answer.rows ?? []).map(({ cells, object }) => [
    ...(options.withNamespace ? [object.metadata?.namespace ?? ""] : []),
    ...shown.map((at) => `${at === 0 ? (options.prefix ?? "") : ""}${cell(cells[at])}`),
    ...(options.showLabels ? [labelsOf(object)] : []),
  ]);
  return table(
    [...(options.withNamespace ? ["NAMESPACE"] : []), ...head, ...(options.showLabels ? ["LABELS"] : [])],
    rows,
  );
}

function cell(value: unknown): string {
  if (value === null || value === undefined) return "<none>";
  return typeof value === "string" ? value : JSON.stringify(value);
}

function labelsOf(object: AnyObject): string {
  const pairs = Object.entries(object.metadata?.labels ?? {}).map(([key, value]) => `${key}=${value}`);
  return pairs.length === 0 ? "<none>" : pairs.sort().join(",");
}
