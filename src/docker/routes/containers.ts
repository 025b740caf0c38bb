import { conflict, invalidArgument } from "../../base/index.ts";
import type { DockerCreateBody, DockerHostConfig } from "../../api/index.ts";
import {
  changesOf,
  dockerTime,
  inspectContainer,
  LIST_FILTERS,
  listContainers,
  pruneContainers,
  readLogs,
  streamStats,
  topContainer,
  type DockerContainers,
  type WaitCondition,
} from "../../engine/index.ts";
import {
  empty,
  hijack,
  json,
  jsonLines,
  stream,
  webSocket,
  type DockerRequest,
  type DockerResponse,
  type Route,
} from "../route.ts";
import { platformOf } from "./platform-query.ts";
import { archiveRoutes } from "./archive.ts";
import { parseTimestamp } from "../timestamps.ts";
import { frame, serveAttach, type AttachOptions } from "../stdio.ts";

/** The containers group, `/containers/…`, less files (archive.ts) and execs (exec.ts). */
export function containerRoutes(containers: DockerContainers): Route[] {
  const id = (request: DockerRequest) => request.params["id"]!;
  return [
    { method: "GET", path: "/containers/json", handle: (request) => list(containers, request) },
    { method: "POST", path: "/containers/create", handle: (request) => create(containers, request) },
    { method: "POST", path: "/containers/prune", handle: (request) => prune(containers, request) },
    {
      method: "GET",
      path: "/containers/{id}/json",
      handle: async (request) => json(await inspectContainer(containers, id(request), request.query.bool("size"))),
    },
    {
      method: "GET",
      path: "/containers/{id}/top",
      handle: async (request) => json(await topContainer(containers, id(request), request.query.text("ps_args"))),
    },
    { method: "GET", path: "/containers/{id}/logs", handle: (request) => logs(containers, request) },
    { method: "GET", path: "/containers/{id}/stats", handle: (request) => stats(containers, request) },
    {
      method: "GET",
      path: "/containers/{id}/changes",
      handle: async (request) => {
        const kinds = { modified: 0, added: 1, deleted: 2 } as const;
        const changes = await changesOf(containers, id(request));
        return json(changes.map(({ path, kind }) => ({ Path: path.toWellFormed(), Kind: kinds[kind] })));
      },
    },
    ...stateRoutes(containers, id),
    ...attachRoutes(containers, id),
    ...archiveRoutes(containers),
  ];
}

function stateRoutes(containers: DockerContainers, id: (request: DockerRequest) => string): Route[] {
  const stopOptions = ({ query }: DockerRequest) => ({ signal: query.text("signal"), timeoutSeconds: query.int("t") });
  const post = (path: string, handle: (request: DockerRequest) => Promise<DockerResponse>): Route => ({
    method: "POST",
    path: `/containers/{id}/${path}`,
    handle,
  });
  return [
    post("start", async (request) => empty((await containers.start(id(request))) ? 204 : 304)),
    post("stop", async (request) => empty((await containers.stop(id(request), stopOptions(request))) ? 204 : 304)),
    post("restart", async (request) => {
      await containers.restart(id(request), stopOptions(request));
      return empty();
    }),
    post("kill", async (request) => {
      await containers.kill(id(request), request.query.text("signal"));
      return empty();
    }),
    post("pause", async (request) => {
      await containers.pause(id(request));
      return empty();
    }),
    post("unpause", async (request) => {
      await containers.unpause(id(request));
      return empty();
    }),
    post("rename", async (request) => {
      await containers.rename(id(request), request.query.text("name") ?? "");
      return empty();
    }),
    post("update", async (request) => {
      const body = await request.json<DockerHostConfig>();
      return json({ Warnings: await containers.update(id(request), body) });
    }),
    post("resize", async (request) => {
      await containers.resize(id(request), terminalSize(request));
      return empty(200);
    }),
    post("wait", async (request) => wait(containers, request)),
    {
      method: "DELETE",
      path: "/containers/{id}",
      handle: async (request) => {
        if (request.query.bool("link")) throw invalidArgument("berth has no legacy links to remove");
        await containers.remove(id(request), { force: request.query.bool("force"), volumes: request.query.bool("v") });
        return empty();
      },
    },
  ];
}

export function terminalSize({ query }: DockerRequest): { columns: number; rows: number } {
  const [rows, columns] = [query.int("h"), query.int("w")];
  if (rows === undefined || columns === undefined || rows < 0 || columns < 0 || rows > 65_535 || columns > 65_535)
    throw invalidArgument("invalid terminal size: h and w are needed");
  return { columns, rows };
}

async function list(containers: DockerContainers, { query }: DockerRequest): Promise<DockerResponse> {
  return json(
    await listContainers(containers, {
      all: query.bool("all"),
      limit: query.int("limit"),
      size: query.bool("size"),
      filters: query.filters(LIST_FILTERS),
    }),
  );
}

async function create(containers: DockerContainers, request: DockerRequest): Promise<DockerResponse> {
  const body = await request.json<DockerCreateBody>();
  const { record, warnings } = await containers.create(body, {
    name: request.query.text("name") || undefined,
    platform: platformOf(request),
  });
  return json({ Id: record.id, Warnings: warnings }, 201);
}

async function prune(containers: DockerContainers, { query }: DockerRequest): Promise<DockerResponse> {
  const filters = query.filters(["until", "label", "label!"]);
  const until = filters.get("until")?.[0];
  return json(
    await pruneContainers(containers, {
      filters,
      untilMs: until === undefined ? undefined : parseTimestamp(until, containers.deps.ctx.clock.nowMs()),
    }),
  );
}

/** The head goes out at once: clients wait for it before they start the container. */
function wait(containers: DockerContainers, { query, params, signal }: DockerRequest): DockerResponse {
  const condition = (query.text("condition") || "not-running") as WaitCondition;
  if (!["not-running", "next-exit", "removed"].includes(condition))
    throw invalidArgument(`invalid condition: "${condition}"`);
  const { id } = containers.store.get(params["id"]!);
  const exit = containers.wait(id, condition, signal);
  exit.catch(() => {});
  const answer = async function* () {
    yield JSON.stringify({ StatusCode: await exit }) + "\n";
  };
  return stream(answer(), "application/json");
}

function logs(containers: DockerContainers, request: DockerRequest): DockerResponse {
  const { query, params, signal } = request;
  const record = containers.store.get(params["id"]!);
  const [stdout, stderr] = [query.bool("stdout"), query.bool("stderr")];
  if (!stdout && !stderr) throw invalidArgument("Bad parameters: you must choose at least one stream");
  if (record.hostConfig.LogConfig?.Type === "none")
    throw invalidArgument("configured logging driver does not support reading");
  const now = containers.deps.ctx.clock.nowMs();
  const tail = query.text("tail");
  const logQuery = {
    stdout,
    stderr,
    follow: query.bool("follow"),
    sinceMs: timestamp(query.text("since"), now),
    untilMs: timestamp(query.text("until"), now),
    tail: tail && /^\d+$/.test(tail) ? Number(tail) : undefined,
  };
  const tty = record.config.Tty ?? false;
  const prefix = {
    timestamps: query.bool("timestamps"),
    details: query.bool("details") ? `${logDetails(record.hostConfig, record.config.Labels ?? {})} ` : "",
  };
  const chunks = async function* () {
    const files = containers.logFiles(record);
    for await (const entry of readLogs(files, logQuery, containers.endOf(record), signal)) {
      const head = `${prefix.timestamps ? `${dockerTime(entry.time)} ` : ""}${prefix.details}`;
      const text = head ? Buffer.concat([Buffer.from(head), entry.text]) : entry.text;
      yield tty ? text : frame(entry.stream, text);
    }
  };
  const framed = !tty && request.apiMinor >= 42;
  return stream(chunks(), `application/vnd.docker.${framed ? "multiplexed" : "raw"}-stream`);
}

function timestamp(text: string | undefined, nowMs: number): number | undefined {
  return text === undefined || text === "" || text === "0" ? undefined : parseTimestamp(text, nowMs);
}

/** The labels that `--log-opt labels=a,b` asks for, as `docker logs --details` shows them. */
function logDetails(host: DockerHostConfig, labels: Readonly<Record<string, string>>): string {
  const wanted = (host.LogConfig?.Config?.["labels"] ?? "").split(",").filter(Boolean);
  return wanted
    .filter((name) => name in labels)
    .map((name) => `${encodeURIComponent(name)}=${encodeURIComponent(labels[name]!)}`)
    .join(",");
}

function stats(containers: DockerContainers, { query, params, signal }: DockerRequest): DockerResponse {
  containers.store.get(params["id"]!);
  const [streaming, oneShot] = [query.bool("stream", true), query.bool("one-shot")];
  if (oneShot && streaming) throw invalidArgument("cannot have stream=true and one-shot=true");
  return jsonLines(streamStats(containers, params["id"]!, { stream: streaming, oneShot, signal }));
}

function attachRoutes(containers: DockerContainers, id: (request: DockerRequest) => string): Route[] {
  const prepare = (request: DockerRequest) => {
    const { query } = request;
    const record = containers.store.get(id(request));
    if (record.state.status === "paused")
      throw conflict(`container ${record.id} is paused, unpause the container before attach`);
    const options: AttachOptions = {
      stdin: query.bool("stdin") && (record.config.OpenStdin ?? false),
      stdout: query.bool("stdout"),
      stderr: query.bool("stderr"),
      logs: query.bool("logs"),
      stream: query.bool("stream"),
      detachKeys: query.text("detachKeys"),
      tty: record.config.Tty ?? false,
    };
    return { record, options };
  };
  return [
    {
      method: "POST",
      path: "/containers/{id}/attach",
      handle: (request) => {
        const { record, options } = prepare(request);
        return hijack((connection) => serveAttach(containers, record, options, connection), {
          multiplexed: !options.tty,
          apiMinor: request.apiMinor,
        });
      },
    },
    {
      method: "GET",
      path: "/containers/{id}/attach/ws",
      handle: (request) => {
        const { record, options } = prepare(request);
        return webSocket((connection) => serveAttach(containers, record, { ...options, raw: true }, connection));
      },
    },
  ];
}
