/** What a stage has become so far: the image's configuration, variables in scope, and the root filesystem's layers. */
import path from "node:path";
import type { OciHistory, OciImageConfig, OciImageRunConfig } from "../../../api/index.ts";
import { invalidArgument } from "../../../base/index.ts";
import type { CommandLine, HealthcheckBody } from "../dockerfile/index.ts";
import type { Platform } from "../types.ts";

export const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const DEFAULT_SHELL = ["/bin/sh", "-c"];

/** Build arguments that need no ARG, and don't count for the cache. */
export const PREDEFINED_ARGS: ReadonlySet<string> = new Set(
  ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"].flatMap((name) => [name, name.toLowerCase()]),
);

export class StageState {
  readonly platform: Platform;
  readonly config: OciImageRunConfig;
  readonly history: OciHistory[];
  author: string | undefined;
  /** Undefined: an empty root. */
  chainId: string | undefined;
  /** When the newest layer was made. */
  createdMs: number;
  /** The image below, for `docker history` and `docker rmi`. */
  parentImage: string | undefined;
  readonly env: Map<string, string>;
  /** ARGs of this stage that have a value. */
  readonly args = new Map<string, string>();
  #cmdSet = false;

  constructor(base: {
    platform: Platform;
    config?: OciImageConfig;
    chainId?: string | undefined;
    parentImage?: string;
  }) {
    this.platform = base.platform;
    this.config = structuredClone(base.config?.config ?? {});
    this.history = structuredClone(base.config?.history ?? []);
    this.author = base.config?.author;
    this.chainId = base.chainId;
    this.parentImage = base.parentImage;
    this.createdMs = Date.parse(base.config?.created ?? "") || 0;
    this.env = new Map((this.config.Env ?? []).map((entry) => splitEnv(entry)));
  }

  /** A stage that begins from this one: configuration and layers, but not its ARGs. */
  fork(platform: Platform): StageState {
    const config = this.image(platform);
    const fork = new StageState({
      platform,
      config,
      chainId: this.chainId,
      ...(this.parentImage ? { parentImage: this.parentImage } : {}),
    });
    fork.createdMs = this.createdMs;
    return fork;
  }

  image(platform: Platform = this.platform): OciImageConfig {
    return {
      architecture: platform.architecture,
      os: platform.os,
      ...(platform.variant ? { variant: platform.variant } : {}),
      ...(this.author ? { author: this.author } : {}),
      config: this.config,
      rootfs: { type: "layers", diff_ids: [] },
      history: this.history,
    };
  }

  /** Variables that instructions see: ARGs, and ENVs above them. */
  variables(): Map<string, string> {
    return new Map([...this.args, ...this.env]);
  }

  setEnv(key: string, value: string): void {
    this.env.set(key, value);
    this.config.Env = [...this.env].map(([name, text]) => `${name}=${text}`);
  }

  get shell(): readonly string[] {
    return this.config.Shell && this.config.Shell.length > 0 ? this.config.Shell : DEFAULT_SHELL;
  }

  argv(command: CommandLine): string[] {
    return command.form === "exec" ? [...command.args] : [...this.shell, ...command.args];
  }

  get workdir(): string {
    return this.config.WorkingDir || "/";
  }

  setWorkdir(target: string): void {
    if (target === "") throw invalidArgument("WORKDIR needs a path");
    this.config.WorkingDir = path.posix.resolve(this.workdir, target);
  }

  /** Relative paths stand below WORKDIR; a trailing slash is kept, since it says "directory". */
  resolve(target: string): string {
    const slash = target.endsWith("/") || target.endsWith("/.") || target === "." ? "/" : "";
    const resolved = path.posix.resolve(this.workdir, target);
    return resolved === "/" ? "/" : resolved + slash;
  }

  setCmd(command: CommandLine): void {
    this.config.Cmd = this.argv(command);
    this.#cmdSet = true;
  }

  /** A new ENTRYPOINT forgets the base image's CMD, but not the CMD of this Dockerfile. */
  setEntrypoint(command: CommandLine): void {
    this.config.Entrypoint = this.argv(command);
    if (!this.#cmdSet) this.config.Cmd = null;
  }

  setLabel(key: string, value: string): void {
    this.config.Labels = { ...this.config.Labels, [key]: value };
  }

  addVolume(name: string): void {
    this.config.Volumes = { ...this.config.Volumes, [name]: {} };
  }

  expose(words: readonly string[]): void {
    const ports = { ...this.config.ExposedPorts };
    for (const word of words) for (const port of parsePorts(word)) ports[port] = {};
    this.config.ExposedPorts = ports;
  }

  setHealthcheck(body: HealthcheckBody): void {
    const { command } = body;
    if (!command) {
      this.config.Healthcheck = { Test: ["NONE"] };
      return;
    }
    this.config.Healthcheck = {
      Test: command.form === "exec" ? ["CMD", ...command.args] : ["CMD-SHELL", ...command.args],
      ...(body.intervalNanos ? { Interval: body.intervalNanos } : {}),
      ...(body.timeoutNanos ? { Timeout: body.timeoutNanos } : {}),
      ...(body.startPeriodNanos ? { StartPeriod: body.startPeriodNanos } : {}),
      ...(body.startIntervalNanos ? { StartInterval: body.startIntervalNanos } : {}),
      ...(body.retries ? { Retries: body.retries } : {}),
    };
  }

  addTrigger(text: string): void {
    this.config.OnBuild = [...(this.config.OnBuild ?? []), text];
  }
}

function splitEnv(entry: string): [string, string] {
  const equals = entry.indexOf("=");
  return equals < 0 ? [entry, ""] : [entry.slice(0, equals), entry.slice(equals + 1)];
}

const MAX_EXPOSED_RANGE = 65_536;

/** `80`, `80/udp`, `7000-8000/tcp`. */
function parsePorts(word: string): string[] {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?(?:\/(tcp|udp|sctp))?$/i.exec(word);
  const first = Number(match?.[1]);
  const last = Number(match?.[2] ?? match?.[1]);
  if (!match || first < 1 || last > 65_535 || last < first)
    throw invalidArgument(`invalid containerPort: ${word}`, {
      hint: "Ports are written like 80, 53/udp or 7000-7010/tcp.",
    });
  const protocol = (match[3] ?? "tcp").toLowerCase();
  return Array.from(
    { length: Math.min(last - first + 1, MAX_EXPOSED_RANGE) },
    (_, index) => `${first + index}/${protocol}`,
  );
}

const SIGNALS = new Set(
  "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS".split(
    " ",
  ),
);

/** A signal's name, with or without SIG, or its number. */
export function checkSignal(text: string): string {
  const name = text.toUpperCase().replace(/^SIG/, "");
  const known =
    SIGNALS.has(name) ||
    /^RTM(IN(\+\d+)?|AX(-\d+)?)$/.test(name) ||
    (/^\d+$/.test(text) && Number(text) >= 1 && Number(text) <= 64);
  if (!known)
    throw invalidArgument(`invalid stop signal: ${JSON.stringify(text)}`, { hint: "For example SIGTERM, INT or 9." });
  return text;
}
