import { MASKED_PATHS, READONLY_PATHS } from "../../../api/index.ts";
import { humanDuration, rfc3339Nano } from "../../../base/index.ts";
import type { Sandbox as NetworkSandbox } from "../../network/index.ts";
import { endpointView } from "./endpoints.ts";
import { isRunning, type ContainerRecord, type HealthState } from "./record.ts";
import type { DockerContainers } from "./service.ts";

const NEVER = "0001-01-01T00:00:00Z";
const time = (ms: number) => (ms === 0 ? NEVER : rfc3339Nano(ms));

/** `GET /containers/{id}/json`. */
export async function inspectContainer(
  service: DockerContainers,
  ref: string,
  withSize = false,
): Promise<Record<string, unknown>> {
  const record = service.store.get(ref);
  const { deps, store } = service;
  const directory = store.directory(record.id);
  const snapshot = deps.snapshots.get(record.id);
  const network = deps.networks.sandbox(record.id);
  const { hostConfig: host } = record;
  const [path = "", ...args] = record.args;
  const execs = service.execs.idsOf(record.id);
  const size = withSize ? await sizes(service, record) : {};
  return {
    Id: record.id,
    Created: time(record.createdMs),
    Path: path,
    Args: args,
    State: stateView(record),
    Image: record.imageId,
    ResolvConfPath: `${directory}/resolv.conf`,
    HostnamePath: `${directory}/hostname`,
    HostsPath: `${directory}/hosts`,
    LogPath: service.launcher.logPath(record) ?? "",
    Name: `/${record.name}`,
    RestartCount: record.restartCount,
    Driver: "overlay2",
    Platform: "linux",
    MountLabel: "",
    ProcessLabel: "",
    AppArmorProfile: "",
    ExecIDs: execs.length > 0 ? execs : null,
    HostConfig: hostConfigView(record),
    GraphDriver: {
      Name: "overlay2",
      Data: {
        ID: record.id,
        UpperDir: snapshot?.upperPath ?? "",
        MergedDir: isRunning(record) ? service.launcher.rootfs(record) : "",
        LowerDir: snapshot?.parent
          ? deps.snapshots
              .chain(snapshot.parent)
              .map((layer) => layer.path)
              .reverse()
              .join(":")
          : "",
      },
    },
    ...size,
    Mounts: record.mounts.map(({ Type, Name, Source, Destination, Driver, Mode, RW, Propagation }) =>
      Type === "volume"
        ? { Type, Name, Source, Destination, Driver, Mode, RW, Propagation }
        : { Type, Source, Destination, Mode, RW, Propagation },
    ),
    Config: configView(record),
    NetworkSettings: networkView(record, network, host.NetworkMode ?? "bridge"),
  };
}

function stateView(record: ContainerRecord): Record<string, unknown> {
  const { state } = record;
  return {
    Status: state.status,
    Running: isRunning(record) || state.status === "restarting",
    Paused: state.status === "paused",
    Restarting: state.status === "restarting",
    OOMKilled: state.oomKilled,
    Dead: state.status === "dead",
    Pid: state.pid,
    ExitCode: state.exitCode,
    Error: state.error,
    StartedAt: time(state.startedMs),
    FinishedAt: time(state.finishedMs),
    ...(state.health ? { Health: healthView(state.health) } : {}),
  };
}

function healthView(health: HealthState): Record<string, unknown> {
  return {
    Status: health.status,
    FailingStreak: health.failingStreak,
    Log: health.log.map((entry) => ({
      Start: time(entry.startMs),
      End: time(entry.endMs),
      ExitCode: entry.exitCode,
      Output: entry.output,
    })),
  };
}

function configView(record: ContainerRecord): Record<string, unknown> {
  const { config } = record;
  return {
    Hostname: config.Hostname ?? "",
    Domainname: config.Domainname ?? "",
    User: config.User ?? "",
    AttachStdin: config.AttachStdin ?? false,
    AttachStdout: config.AttachStdout ?? false,
    AttachStderr: config.AttachStderr ?? false,
    ...(Object.keys(config.ExposedPorts ?? {}).length > 0 ? { ExposedPorts: config.ExposedPorts } : {}),
    Tty: config.Tty ?? false,
    OpenStdin: config.OpenStdin ?? false,
    StdinOnce: config.StdinOnce ?? false,
    Env: config.Env ?? [],
    Cmd: config.Cmd ?? null,
    ...(config.Healthcheck ? { Healthcheck: config.Healthcheck } : {}),
    Image: config.Image ?? "",
    Volumes: Object.keys(config.Volumes ?? {}).length > 0 ? config.Volumes : null,
    WorkingDir: config.WorkingDir ?? "",
    Entrypoint: config.Entrypoint ?? null,
    OnBuild: config.OnBuild ?? null,
    Labels: config.Labels ?? {},
    ...(config.StopSignal ? { StopSignal: config.StopSignal } : {}),
    ...(config.StopTimeout !== undefined && config.StopTimeout !== null ? { StopTimeout: config.StopTimeout } : {}),
    ...(config.Shell ? { Shell: config.Shell } : {}),
  };
}

function hostConfigView(record: ContainerRecord): Record<string, unknown> {
  const { hostConfig: host } = record;
  const privileged = host.Privileged ?? false;
  return {
    Binds: null,
    ContainerIDFile: "",
    AutoRemove: false,
    VolumeDriver: "",
    VolumesFrom: null,
    ConsoleSize: [0, 0],
    CapAdd: null,
    CapDrop: null,
    Dns: [],
    DnsOptions: [],
    DnsSearch: [],
    ExtraHosts: null,
    GroupAdd: null,
    Cgroup: "",
    Links: null,
    OomScoreAdj: 0,
    PidMode: "",
    Privileged: false,
    PublishAllPorts: false,
    ReadonlyRootfs: false,
    SecurityOpt: null,
    UTSMode: "",
    UsernsMode: "",
    Isolation: "",
    CpuShares: 0,
    Memory: 0,
    NanoCpus: 0,
    CgroupParent: "",
    BlkioWeight: 0,
    BlkioWeightDevice: [],
    BlkioDeviceReadBps: [],
    BlkioDeviceWriteBps: [],
    BlkioDeviceReadIOps: [],
    BlkioDeviceWriteIOps: [],
    CpuPeriod: 0,
    CpuQuota: 0,
    CpuRealtimePeriod: 0,
    CpuRealtimeRuntime: 0,
    CpusetCpus: "",
    CpusetMems: "",
    Devices: [],
    DeviceCgroupRules: null,
    DeviceRequests: null,
    MemoryReservation: 0,
    MemorySwap: 0,
    MemorySwappiness: null,
    OomKillDisable: null,
    Ulimits: [],
    CpuCount: 0,
    CpuPercent: 0,
    IOMaximumIOps: 0,
    IOMaximumBandwidth: 0,
    MaskedPaths: privileged ? null : [...MASKED_PATHS],
    ReadonlyPaths: privileged ? null : [...READONLY_PATHS],
    ...Object.fromEntries(Object.entries(host).filter(([, value]) => value !== undefined && value !== null)),
  };
}

function portsView(record: ContainerRecord, network: NetworkSandbox | undefined): Record<string, unknown> {
  const ports: Record<string, Array<{ HostIp: string; HostPort: string }> | null> = {};
  for (const port of Object.keys(record.config.ExposedPorts ?? {})) ports[port] = null;
  for (const published of network?.publishedPorts ?? []) {
    const key = `${published.containerPort}/${published.protocol}`;
    (ports[key] ??= []).push({ HostIp: published.hostAddress, HostPort: String(published.hostPort) });
  }
  return ports;
}

function networksView(
  record: ContainerRecord,
  network: NetworkSandbox | undefined,
): Record<string, Record<string, unknown>> {
  return Object.fromEntries(
    Object.entries(record.endpoints).map(([name, settings]) => {
      const live = network?.endpoints.find((endpoint) => endpoint.networkName === name || endpoint.networkId === name);
      return [live?.networkName ?? name, endpointView(settings, live)];
    }),
  );
}

function networkView(
  record: ContainerRecord,
  network: NetworkSandbox | undefined,
  mode: string,
): Record<string, unknown> {
  const networks = networksView(record, network);
  const bridge = mode === "bridge" ? networks["bridge"] : undefined;
  return {
    Bridge: "",
    SandboxID: network ? record.id : "",
    SandboxKey: network?.netnsPath ?? "",
    Ports: isRunning(record) ? portsView(record, network) : {},
    HairpinMode: false,
    LinkLocalIPv6Address: "",
    LinkLocalIPv6PrefixLen: 0,
    SecondaryIPAddresses: null,
    SecondaryIPv6Addresses: null,
    EndpointID: bridge?.["EndpointID"] ?? "",
    Gateway: bridge?.["Gateway"] ?? "",
    GlobalIPv6Address: bridge?.["GlobalIPv6Address"] ?? "",
    GlobalIPv6PrefixLen: bridge?.["GlobalIPv6PrefixLen"] ?? 0,
    IPAddress: bridge?.["IPAddress"] ?? "",
    IPPrefixLen: bridge?.["IPPrefixLen"] ?? 0,
    IPv6Gateway: bridge?.["IPv6Gateway"] ?? "",
    MacAddress: bridge?.["MacAddress"] ?? "",
    Networks: networks,
  };
}

/** SizeRw and SizeRootFs. */
async function sizes(
  service: DockerContainers,
  record: ContainerRecord,
): Promise<{ SizeRw: number; SizeRootFs: number }> {
  const [usage, image] = await Promise.all([
    service.deps.snapshots.usage(record.id).catch(() => ({ sizeBytes: 0 })),
    service.deps.images.find(record.imageId),
  ]);
  return { SizeRw: usage.sizeBytes, SizeRootFs: usage.sizeBytes + (image?.sizeBytes ?? 0) };
}

/** One row of `GET /containers/json`. */
export async function summarizeContainer(
  service: DockerContainers,
  record: ContainerRecord,
  withSize: boolean,
): Promise<Record<string, unknown>> {
  const network = service.deps.networks.sandbox(record.id);
  return {
    Id: record.id,
    Names: [`/${record.name}`],
    Image: record.config.Image ?? record.imageId,
    ImageID: record.imageId,
    Command: commandLine(record.args),
    Created: Math.floor(record.createdMs / 1000),
    Ports: isRunning(record) ? portRows(record, network) : [],
    ...(withSize ? await sizes(service, record) : {}),
    Labels: record.config.Labels ?? {},
    State: record.state.status,
    Status: statusText(record, service.deps.ctx.clock.nowMs()),
    HostConfig: { NetworkMode: record.hostConfig.NetworkMode },
    NetworkSettings: { Networks: networksView(record, network) },
    Mounts: record.mounts
      .filter((mount) => mount.Type !== "tmpfs")
      .map(({ Type, Name, Source, Destination, Driver, Mode, RW, Propagation }) => ({
        Type,
        ...(Name ? { Name } : {}),
        Source,
        Destination,
        ...(Driver ? { Driver } : {}),
        Mode,
        RW,
        Propagation,
      })),
  };
}

function commandLine(args: readonly string[]): string {
  return args.map((arg) => (arg === "" || /[\s'"]/.test(arg) ? `'${arg.replaceAll("'", `'\\''`)}'` : arg)).join(" ");
}

function portRows(record: ContainerRecord, network: NetworkSandbox | undefined): Array<Record<string, unknown>> {
  const published = network?.publishedPorts ?? [];
  const rows: Array<Record<string, unknown>> = published.map((port) => ({
    IP: port.hostAddress,
    PrivatePort: port.containerPort,
    PublicPort: port.hostPort,
    Type: port.protocol,
  }));
  for (const exposed of Object.keys(record.config.ExposedPorts ?? {})) {
    const [port, type = "tcp"] = exposed.split("/");
    if (!published.some((one) => one.containerPort === Number(port) && one.protocol === type))
      rows.push({ PrivatePort: Number(port), Type: type });
  }
  return rows;
}

/** `Up 3 minutes (healthy)`, `Exited (0) 2 hours ago`, in Docker's words. */
function statusText(record: ContainerRecord, nowMs: number): string {
  const { state } = record;
  const since = (ms: number) => humanDuration(nowMs - ms);
  switch (state.status) {
    case "running": {
      const health = state.health
        ? ` (${state.health.status === "starting" ? "health: starting" : state.health.status})`
        : "";
      return `Up ${since(state.startedMs)}${health}`;
    }
    case "paused":
      return `Up ${since(state.startedMs)} (Paused)`;
    case "restarting":
      return `Restarting (${state.exitCode}) ${since(state.finishedMs)} ago`;
    case "removing":
      return "Removal In Progress";
    case "dead":
      return "Dead";
    case "created":
      return "Created";
    case "exited":
      return `Exited (${state.exitCode}) ${since(state.finishedMs)} ago`;
  }
}
