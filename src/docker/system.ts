import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import os from "node:os";
import { rfc3339Nano } from "../base/index.ts";
import type { Engine } from "../engine/index.ts";
import type { DockerApiContext } from "./context.ts";
import type { SystemBackend } from "./routes/system.ts";
import { createUsage } from "./usage.ts";
import { API_VERSION, ENGINE_VERSION, MIN_API_VERSION } from "./version.ts";

/** The name by which clients know Docker Hub's credentials. */
const DOCKER_HUB = "https://index.docker.io/v1/";

/** Go's names for what Node calls x64 and so on; Docker's clients expect Go's. */
const ARCHITECTURE: Readonly<Record<string, string>> = { x64: "amd64", arm64: "arm64" };
/** And the kernel's own, for /info. */
const MACHINE: Readonly<Record<string, string>> = { x64: "x86_64", arm64: "aarch64" };

/** What the daemon and its machine are, in the shapes of SystemVersion and SystemInfo. */
export function createSystem(engine: Engine, context: DockerApiContext): SystemBackend {
  const reportedVersion = `${ENGINE_VERSION}+berth${context.version}`;
  return {
    version: () => versionDocument(reportedVersion, context),
    info: () => infoDocument(engine, reportedVersion, context),
    async login({ serveraddress, ...auth }) {
      await engine.images.login(serveraddress || DOCKER_HUB, auth);
      return { status: "Login Succeeded" };
    },
    usage: createUsage(engine),
    events: engine.events,
  };
}

function versionDocument(version: string, context: DockerApiContext): object {
  const facts = {
    ApiVersion: API_VERSION,
    MinAPIVersion: MIN_API_VERSION,
    Os: "linux",
    Arch: ARCHITECTURE[process.arch] ?? process.arch,
    KernelVersion: os.release(),
    GitCommit: `berth-${context.version}`,
    // The field says which Go the daemon was made with; ours runs on Node.
    GoVersion: `node ${process.version}`,
    BuildTime: "",
  };
  const components = [{ Name: "Engine", Version: version, Details: { ...facts, Experimental: "false" } }];
  return { Platform: { Name: `berth ${context.version}` }, Components: components, Version: version, ...facts };
}

async function infoDocument(engine: Engine, version: string, context: DockerApiContext): Promise<object> {
  const [counts, warnings] = await Promise.all([engine.counts(), engine.networks.warnings()]);
  const { host } = engine;
  return {
    ID: instanceId(context),
    Containers: counts.containers,
    ContainersRunning: counts.running,
    ContainersPaused: counts.paused,
    ContainersStopped: counts.stopped,
    Images: counts.images,
    Driver: "overlay2",
    DriverStatus: [["Backing Filesystem", host.backingFilesystem]],
    DockerRootDir: context.dataDir,
    Plugins: {
      Volume: ["local"],
      Network: ["bridge", "host", "ipvlan", "macvlan", "null"],
      Authorization: null,
      Log: ["json-file", "local", "none"],
    },
    ...limitFlags(),
    NFd: openDescriptors(),
    // What runs in this process at a time: its threads.
    NGoroutines: threads(),
    NEventsListener: engine.events.subscribers(),
    Debug: false,
    SystemTime: rfc3339Nano(context.clock.nowMs()),
    LoggingDriver: engine.options.containerDefaults?.logDriver ?? "json-file",
    CgroupDriver: "cgroupfs",
    CgroupVersion: host.cgroupVersion,
    KernelVersion: os.release(),
    ...operatingSystem(),
    OSType: "linux",
    Architecture: MACHINE[process.arch] ?? process.arch,
    NCPU: os.availableParallelism(),
    MemTotal: os.totalmem(),
    IndexServerAddress: DOCKER_HUB,
    RegistryConfig: registryInfo(engine),
    GenericResources: null,
    HttpProxy: withoutPassword(process.env["HTTP_PROXY"]),
    HttpsProxy: withoutPassword(process.env["HTTPS_PROXY"]),
    NoProxy: process.env["NO_PROXY"] ?? "",
    Name: os.hostname(),
    Labels: [`io.berth.instance=${context.instance}`, ...(engine.options.labels ?? [])],
    ExperimentalBuild: false,
    ServerVersion: version,
    Runtimes: host.runtimes,
    DefaultRuntime: host.defaultRuntime,
    Swarm: {
      NodeID: "",
      NodeAddr: "",
      LocalNodeState: "inactive",
      ControlAvailable: false,
      Error: "",
      RemoteManagers: null,
    },
    // Containers go on running while the daemon is down.
    LiveRestoreEnabled: true,
    Isolation: "",
    InitBinary: "docker-init",
    ...(await componentVersions(engine)),
    SecurityOptions: securityOptions(engine),
    DefaultAddressPools: host.addressPools,
    FirewallBackend: { Driver: "nftables" },
    CDISpecDirs: [],
    DiscoveredDevices: [],
    Warnings: warnings.length > 0 ? warnings : null,
  };
}

function registryInfo({ options }: Engine) {
  const insecure = options.insecureRegistries.map((name) => [
    name,
    { Name: name, Mirrors: [], Secure: false, Official: false },
  ]);
  const hub = { Name: "docker.io", Mirrors: options.registryMirrors, Secure: true, Official: true };
  return {
    InsecureRegistryCIDRs: ["::1/128", "127.0.0.0/8"],
    IndexConfigs: { "docker.io": hub, ...Object.fromEntries(insecure) },
    Mirrors: options.registryMirrors,
  };
}

function limitFlags() {
  return {
    MemoryLimit: true,
    SwapLimit: true,
    CpuCfsPeriod: true,
    CpuCfsQuota: true,
    CPUShares: true,
    CPUSet: true,
    PidsLimit: true,
    OomKillDisable: false,
    IPv4Forwarding: true,
  };
}

function operatingSystem(): { OperatingSystem: string; OSVersion: string } {
  try {
    const fields = new Map(
      readFileSync("/etc/os-release", "utf8")
        .split("\n")
        .map((line) => line.split("=", 2) as [string, string]),
    );
    const value = (name: string) => (fields.get(name) ?? "").replace(/^"|"$/g, "");
    return { OperatingSystem: value("PRETTY_NAME") || "Linux", OSVersion: value("VERSION_ID") };
  } catch {
    return { OperatingSystem: "Linux", OSVersion: "" };
  }
}

function withoutPassword(proxy: string | undefined): string {
  return (proxy ?? "").replace(/\/\/[^@/]*@/, "//xxxxx:xxxxx@");
}

/** Stable for an instance on a machine, and a UUID in form, as Docker's has been since v23. */
function instanceId({ instance, dataDir }: DockerApiContext): string {
  let machine = os.hostname();
  try {
    machine = readFileSync("/etc/machine-id", "utf8").trim();
  } catch {
    // A machine without an id is told apart by its name.
  }
  const hex = createHash("sha256").update(`${machine}\n${instance}\n${dataDir}`).digest("hex");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20, 32)}`;
}

function openDescriptors(): number {
  return readdirSync("/proc/self/fd").length;
}
function threads(): number {
  return readdirSync("/proc/self/task").length;
}

/** What stands in their places: the monitor for containerd, the default runtime for runc, the init that `--init` takes. */
async function componentVersions(engine: Engine) {
  const { monitor, runtime, init } = await engine.componentVersions();
  return { ContainerdCommit: { ID: monitor }, RuncCommit: { ID: runtime }, InitCommit: { ID: init } };
}

function securityOptions({ host, options }: Engine): string[] {
  const profile = options.containerDefaults?.seccompProfile ?? "builtin";
  return [
    `name=seccomp,profile=${profile.startsWith("{") ? "custom" : profile}`,
    ...(options.containerDefaults?.noNewPrivileges ? ["name=no-new-privileges"] : []),
    ...(host.cgroupVersion === "2" ? ["name=cgroupns"] : []),
    ...(options.usernsRemap === undefined ? [] : ["name=userns"]),
  ];
}
