import { invalidArgument } from "../../../base/index.ts";
import { isRunning, type ContainerRecord } from "./record.ts";
import type { DockerContainers } from "./service.ts";
import { summarizeContainer } from "./views.ts";

export type ContainerFilters = ReadonlyMap<string, readonly string[]>;

/** The filters of `GET /containers/json`. */
export const LIST_FILTERS = [
  "ancestor",
  "before",
  "expose",
  "exited",
  "health",
  "id",
  "isolation",
  "is-task",
  "label",
  "name",
  "network",
  "publish",
  "since",
  "status",
  "volume",
] as const;

const STATUSES = ["created", "restarting", "running", "removing", "paused", "exited", "dead"];

const HEALTHS = ["none", "starting", "healthy", "unhealthy"];

export interface ListOptions {
  readonly all?: boolean;
  readonly limit?: number;
  readonly size?: boolean;
  readonly filters?: ContainerFilters;
}

/** `GET /containers/json`: newest first; without `all`, only those that run, unless a status is asked for. */
export async function listContainers(
  service: DockerContainers,
  options: ListOptions = {},
): Promise<Array<Record<string, unknown>>> {
  const filters = options.filters ?? new Map<string, readonly string[]>();
  const everything = options.all || (options.limit ?? 0) > 0 || filters.has("status") || filters.has("exited");
  const accept = await predicate(service, filters);
  const matching = service.store
    .list()
    .filter((record) => (everything || isRunning(record) || record.state.status === "restarting") && accept(record));
  const limited = options.limit && options.limit > 0 ? matching.slice(0, options.limit) : matching;
  return Promise.all(limited.map((record) => summarizeContainer(service, record, options.size ?? false)));
}

async function predicate(
  service: DockerContainers,
  filters: ContainerFilters,
): Promise<(record: ContainerRecord) => boolean> {
  const tests: Array<(record: ContainerRecord) => boolean> = [];
  const any = (name: string, test: (record: ContainerRecord, value: string) => boolean) => {
    const values = filters.get(name);
    if (values?.length) tests.push((record) => values.some((value) => test(record, value)));
  };
  for (const status of filters.get("status") ?? [])
    if (!STATUSES.includes(status)) throw invalidArgument(`invalid filter 'status=${status}'`);
  for (const code of filters.get("exited") ?? [])
    if (!/^-?\d+$/.test(code)) throw invalidArgument(`invalid filter 'exited=${code}'`);
  for (const health of filters.get("health") ?? [])
    if (!HEALTHS.includes(health)) throw invalidArgument(`unrecognized filter value for health: ${health}`);
  for (const name of ["expose", "publish"])
    for (const port of filters.get(name) ?? [])
      if (!/^\d{1,5}(-\d{1,5})?(\/(tcp|udp|sctp))?$/i.test(port))
        throw invalidArgument(`invalid filter '${name}=${port}'`);
  any("id", (record, value) => record.id.startsWith(value) || safeMatch(value, record.id));
  any("name", (record, value) => safeMatch(value, record.name) || safeMatch(value, `/${record.name}`));
  any("status", (record, value) => record.state.status === value);
  any("exited", (record, value) => record.state.status === "exited" && record.state.exitCode === Number(value));
  any("health", (record, value) => (record.state.health?.status ?? "none") === value);
  any("volume", (record, value) =>
    record.mounts.some((mount) => mount.Name === value || mount.Destination === value || mount.Source === value),
  );
  any("network", (record, value) => onNetwork(service, record, value));
  any("expose", (record, value) => portMatches(Object.keys(record.config.ExposedPorts ?? {}), value));
  any("publish", (record, value) => portMatches(Object.keys(record.hostConfig.PortBindings ?? {}), value));
  any("is-task", (_record, value) => value === "false");
  const labels = filters.get("label") ?? [];
  if (labels.length > 0) tests.push((record) => labels.every((label) => hasLabel(record.config.Labels ?? {}, label)));
  for (const [name, older] of [
    ["before", true],
    ["since", false],
  ] as const) {
    for (const ref of filters.get(name) ?? []) {
      const { createdMs } = service.store.get(ref);
      tests.push((record) => (older ? record.createdMs < createdMs : record.createdMs > createdMs));
    }
  }
  const ancestors = filters.get("ancestor") ?? [];
  if (ancestors.length > 0) {
    const ids = new Set(await Promise.all(ancestors.map(async (ref) => (await service.deps.images.find(ref))?.id)));
    tests.push(
      (record) => ids.has(record.imageId as `sha256:${string}`) || ancestors.includes(record.config.Image ?? ""),
    );
  }
  return (record) => tests.every((test) => test(record));
}

function onNetwork(service: DockerContainers, record: ContainerRecord, value: string): boolean {
  let name = value;
  try {
    name = service.deps.networks.get(value).name;
  } catch {
    // A network that is gone: stopped containers may still name it.
  }
  return Object.keys(record.endpoints).some((given) => given === name || given === value);
}

/** `80`, `80/udp`, `8000-8010/tcp`. */
function portMatches(ports: readonly string[], filter: string): boolean {
  const [range = "", protocol = "tcp"] = filter.split("/");
  const [first = 0, last = first] = range.split("-").map(Number);
  return ports.some((port) => {
    const [number, type = "tcp"] = port.split("/");
    return type === protocol && Number(number) >= first && Number(number) <= last;
  });
}

function hasLabel(labels: Readonly<Record<string, string>>, filter: string): boolean {
  const at = filter.indexOf("=");
  return at < 0 ? filter in labels : labels[filter.slice(0, at)] === filter.slice(at + 1);
}

/** Docker's name filter is a pattern; one that does not compile, or is suspiciously long, is taken literally. */
function safeMatch(pattern: string, text: string): boolean {
  if (text.includes(pattern)) return true;
  if (pattern.length > 128 || /[+*}][+*{]|\([^)]*[+*][^)]*\)[+*{]/.test(pattern)) return false;
  try {
    return new RegExp(pattern).test(text);
  } catch {
    return false;
  }
}

export interface PruneResult {
  readonly ContainersDeleted: string[] | null;
  readonly SpaceReclaimed: number;
}

/** `POST /containers/prune`: removes what has stopped; filters `until` (milliseconds since the epoch) and `label`, `label!`. */
export async function pruneContainers(
  service: DockerContainers,
  options: { untilMs?: number; filters?: ContainerFilters } = {},
): Promise<PruneResult> {
  const labels = options.filters?.get("label") ?? [];
  const without = options.filters?.get("label!") ?? [];
  const deleted: string[] = [];
  let reclaimed = 0;
  for (const record of service.store.list()) {
    const { status } = record.state;
    if (isRunning(record) || status === "restarting" || status === "removing") continue;
    if (options.untilMs !== undefined && record.createdMs > options.untilMs) continue;
    const own = record.config.Labels ?? {};
    if (!labels.every((label) => hasLabel(own, label)) || without.some((label) => hasLabel(own, label))) continue;
    const { sizeBytes } = await service.deps.snapshots.usage(record.id).catch(() => ({ sizeBytes: 0 }));
    await service.remove(record.id).catch((error: unknown) => {
      service.deps.ctx.log.debug("a container was not pruned", { container: record.id, error });
    });
    if (service.store.byId(record.id)) continue;
    deleted.push(record.id);
    reclaimed += sizeBytes;
  }
  service.deps.events.publish("container", "prune", "", { reclaimed: String(reclaimed) });
  return { ContainersDeleted: deleted.length > 0 ? deleted : null, SpaceReclaimed: reclaimed };
}
