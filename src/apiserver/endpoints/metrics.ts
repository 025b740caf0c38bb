import { readdirSync, readFileSync } from "node:fs";
import type { ApiResponse } from "../../api/index.ts";
import type { Metrics } from "../../base/index.ts";
import type { Fallback } from "../machinery/pipeline.ts";
import { versionInfo } from "../machinery/version.ts";

const TEXT_FORMAT = "text/plain; version=0.0.4; charset=utf-8";
/** What /metrics/slis shows: https://kubernetes.io/docs/reference/instrumentation/slis/ */
const isIndicator = (name: string) => name.startsWith("kubernetes_healthcheck");

/** /metrics and /metrics/slis, for whoever may get these paths. */
export function metricsPages(metrics: Metrics): Fallback {
  measureProcess(metrics);
  return ({ request: { method, path } }) => {
    if (method !== "GET") return undefined;
    if (path === "/metrics") return page(metrics.text((name) => !isIndicator(name)));
    if (path === "/metrics/slis") return page(metrics.text(isIndicator));
    return undefined;
  };
}

const page = (text: string): ApiResponse => ({
  status: 200,
  headers: { "content-type": TEXT_FORMAT },
  body: Buffer.from(text),
});

/** https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics */
function measureProcess(metrics: Metrics): void {
  const one = (name: string, help: string, read: () => number, type?: "counter") =>
    metrics.gauge(name, help, [], () => [[[], read()]], type);
  const cpuSeconds = () => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1e6;
  };
  one("process_cpu_seconds_total", "Processor time of this process.", cpuSeconds, "counter");
  one("process_resident_memory_bytes", "Memory of this process that is resident.", () => process.memoryUsage.rss());
  one("process_virtual_memory_bytes", "Address space.", () => inProc("status", /^VmSize:\s+(\d+)/m) * 1024);
  one("process_open_fds", "Files open in this process.", () => readdirSync("/proc/self/fd").length);
  one("process_max_fds", "Files that may be open.", () => inProc("limits", /^Max open files\s+(\d+)/m));
  one("process_start_time_seconds", "When this process started.", () => performance.timeOrigin / 1000);
  const { gitVersion = "", major = "", minor = "", platform = "" } = versionInfo();
  const labels = ["git_version", "major", "minor", "platform"];
  metrics.gauge("kubernetes_build_info", "What is running.", labels, () => [[[gitVersion, major, minor, platform], 1]]);
}

function inProc(file: string, pattern: RegExp): number {
  return Number(pattern.exec(readFileSync(`/proc/self/${file}`, "utf8"))?.[1]);
}
