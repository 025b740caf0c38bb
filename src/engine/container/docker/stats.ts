import { readFileSync } from "node:fs";
import { cpus, totalmem } from "node:os";
import { conflict, rfc3339Nano } from "../../../base/index.ts";
import { run } from "../../../host/index.ts";
import type { RuntimeStats } from "../runtime/index.ts";
import type { ContainerRecord } from "./record.ts";
import type { DockerContainers } from "./service.ts";

const TICK_NANOS = 10_000_000;
const SAMPLE_MS = 1_000;
const NEVER = "0001-01-01T00:00:00Z";

/** Busy time of all processors since boot, nanoseconds, as Docker counts it: user to steal, guest not twice. */
function systemCpuNanos(): number {
  const [, ...fields] = readFileSync("/proc/stat", "utf8").split("\n", 1)[0]!.split(/\s+/);
  return fields.slice(0, 8).reduce((sum, field) => sum + Number(field), 0) * TICK_NANOS;
}

/** `GET /containers/{id}/stats`: one sample a second, each with the one before it, until the signal; or one. */
export async function* streamStats(
  service: DockerContainers,
  ref: string,
  options: { stream: boolean; oneShot: boolean; signal: AbortSignal },
): AsyncGenerator<Record<string, unknown>> {
  const record = service.store.get(ref);
  const { clock } = service.deps.ctx;
  let previous: Record<string, unknown> | undefined;
  if (!options.stream && !options.oneShot && service.isLive(record.id)) {
    previous = await sample(service, record, undefined);
    await clock.sleep(SAMPLE_MS, options.signal).catch(() => {});
  }
  while (!options.signal.aborted) {
    const current = await sample(service, record, previous);
    yield current;
    if (!options.stream || !service.store.byId(record.id)) return;
    previous = current;
    await clock.sleep(SAMPLE_MS, options.signal).catch(() => {});
  }
}

async function sample(
  service: DockerContainers,
  record: ContainerRecord,
  previous: Record<string, unknown> | undefined,
): Promise<Record<string, unknown>> {
  const head = { name: `/${record.name}`, id: record.id };
  if (!service.isLive(record.id)) {
    return {
      ...head,
      read: NEVER,
      preread: NEVER,
      pids_stats: {},
      blkio_stats: emptyBlkio(),
      num_procs: 0,
      storage_stats: {},
      cpu_stats: emptyCpu(),
      precpu_stats: emptyCpu(),
      memory_stats: {},
    };
  }
  const stats = await service.live(record).container.stats();
  return {
    ...head,
    read: rfc3339Nano(stats.atMs),
    preread: previous?.["read"] ?? NEVER,
    pids_stats: { current: stats.pids.current, ...(stats.pids.limit > 0 ? { limit: stats.pids.limit } : {}) },
    blkio_stats: blkioView(stats),
    num_procs: 0,
    storage_stats: {},
    cpu_stats: cpuView(stats),
    precpu_stats: previous?.["cpu_stats"] ?? emptyCpu(),
    memory_stats: memoryView(stats),
    networks: Object.fromEntries(
      (stats.network ?? []).map((link) => [
        link.name,
        {
          rx_bytes: link.rxBytes,
          rx_packets: link.rxPackets,
          rx_errors: link.rxErrors,
          rx_dropped: link.rxDropped,
          tx_bytes: link.txBytes,
          tx_packets: link.txPackets,
          tx_errors: link.txErrors,
          tx_dropped: link.txDropped,
        },
      ]),
    ),
  };
}

function cpuView(stats: RuntimeStats): Record<string, unknown> {
  return {
    cpu_usage: {
      total_usage: stats.cpu.usageNanos,
      ...(stats.cpu.perCpuNanos ? { percpu_usage: stats.cpu.perCpuNanos } : {}),
      usage_in_kernelmode: stats.cpu.systemNanos,
      usage_in_usermode: stats.cpu.userNanos,
    },
    system_cpu_usage: systemCpuNanos(),
    online_cpus: cpus().length,
    throttling_data: {
      periods: stats.cpu.periods,
      throttled_periods: stats.cpu.throttledPeriods,
      throttled_time: stats.cpu.throttledNanos,
    },
  };
}

const emptyCpu = () => ({
  cpu_usage: { total_usage: 0, usage_in_kernelmode: 0, usage_in_usermode: 0 },
  throttling_data: { periods: 0, throttled_periods: 0, throttled_time: 0 },
});

function memoryView(stats: RuntimeStats): Record<string, unknown> {
  const { usageBytes, maxUsageBytes, failures, limitBytes, stat } = stats.memory;
  return {
    usage: usageBytes,
    ...(maxUsageBytes === undefined ? {} : { max_usage: maxUsageBytes }),
    stats: stat,
    ...(failures === undefined ? {} : { failcnt: failures }),
    limit: Math.min(limitBytes, totalmem()),
  };
}

const emptyBlkio = () => ({
  io_service_bytes_recursive: null,
  io_serviced_recursive: null,
  io_queue_recursive: null,
  io_service_time_recursive: null,
  io_wait_time_recursive: null,
  io_merged_recursive: null,
  io_time_recursive: null,
  sectors_recursive: null,
});

function blkioView(stats: RuntimeStats): Record<string, unknown> {
  const rows = (read: (io: RuntimeStats["blockIo"][number]) => [number, number]) =>
    stats.blockIo.flatMap((io) => {
      const [reads, writes] = read(io);
      const { major, minor } = io;
      return [
        { major, minor, op: "read", value: reads },
        { major, minor, op: "write", value: writes },
      ];
    });
  return {
    ...emptyBlkio(),
    io_service_bytes_recursive: rows((io) => [io.readBytes, io.writeBytes]),
    io_serviced_recursive: rows((io) => [io.readOps, io.writeOps]),
  };
}

/** `GET /containers/{id}/top`: ps on the host, cut down to the container's processes. */
export async function topContainer(
  service: DockerContainers,
  ref: string,
  psArgs = "-ef",
): Promise<{ Titles: string[]; Processes: string[][] }> {
  const record = service.store.get(ref);
  if (!service.isLive(record.id)) throw conflict(`container ${record.id} is not running`);
  const { container } = service.live(record);
  if (container.top) {
    const { titles, processes } = await container.top(psArgs || "-ef");
    return { Titles: [...titles], Processes: processes.map((row) => [...row]) };
  }
  const pids = new Set(await container.processes());
  const { code, stdout, stderr } = await run(["/bin/ps", ...(psArgs || "-ef").split(/\s+/).filter(Boolean)]);
  if (code !== 0) throw conflict(`ps: ${stderr.trim()}`);
  const [header = "", ...lines] = stdout.split("\n").filter((line) => line !== "");
  const titles = header.trim().split(/\s+/);
  const pidColumn = titles.indexOf("PID");
  if (pidColumn < 0) throw conflict("couldn't find PID field in ps output");
  const rows = lines.map((line) => {
    const fields = line.trim().split(/\s+/);
    return [...fields.slice(0, titles.length - 1), fields.slice(titles.length - 1).join(" ")];
  });
  return { Titles: titles, Processes: rows.filter((row) => pids.has(Number(row[pidColumn]))) };
}
