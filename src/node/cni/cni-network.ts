import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import {
  assert,
  failedPrecondition,
  internal,
  KeyedMutex,
  notFound,
  unavailable,
  type InstanceContext,
} from "../../base/index.ts";
import type { cri } from "../../api/index.ts";
import type { PodAddresses, PodNetwork, PodNetworkRequest } from "../../engine/index.ts";
import { LinuxNetns, run, type NetnsHost } from "../../host/index.ts";
import {
  addressesOf,
  findConflist,
  pluginEnv,
  pluginInput,
  type Attachment,
  type Conflist,
  type PluginConfig,
} from "./conflist.ts";

export interface CniOptions {
  /** Where configurations stand, usually /etc/cni/net.d. */
  readonly confDir: string;
  /** Where plugins stand, usually /opt/cni/bin or /usr/lib/cni. */
  readonly binDir: string;
  readonly netns?: NetnsHost;
  /** Runs a plugin; a test's own where there is no kernel. */
  readonly execute?: (
    argv: readonly string[],
    options: { env: Record<string, string>; input: string },
  ) => Promise<{ code: number; stdout: string; stderr: string }>;
}

/** What is kept of an attachment, so that it can be taken back with the configuration that made it. */
interface Record_ {
  readonly attachment: Attachment;
  readonly list: Conflist;
  readonly result: unknown;
  readonly ips: readonly string[];
}

/**
 * Pods on somebody else's network: CNI plugins, called in the order of the configured list, and in reverse to undo. It takes the place of podnet where a
 * configuration is named. https://github.com/containernetworking/cni/blob/main/SPEC.md
 */
export class CniNetwork implements PodNetwork {
  readonly #options: CniOptions;
  readonly #netns: NetnsHost;
  readonly #execute: NonNullable<CniOptions["execute"]>;
  readonly #folder: string;
  readonly #locks = new KeyedMutex();
  #list: Conflist | undefined;
  #problem = "no network configuration has been read yet";

  constructor(context: InstanceContext, options: CniOptions) {
    this.#options = options;
    this.#netns = options.netns ?? new LinuxNetns();
    this.#execute = options.execute ?? ((argv, { env, input }) => run(argv, { env, input }));
    this.#folder = path.join(context.runtimeDir, "cni");
  }

  /** Reads the configuration; what is wrong with it is the node's NetworkReady condition. */
  async open(): Promise<void> {
    await mkdir(path.join(this.#folder, "netns"), { recursive: true, mode: 0o711 });
    await mkdir(path.join(this.#folder, "records"), { recursive: true, mode: 0o700 });
    try {
      this.#list = await findConflist(this.#options.confDir);
      this.#problem = `no network configuration in ${this.#options.confDir}`;
    } catch (error) {
      this.#list = undefined;
      this.#problem = (error as Error).message;
    }
  }

  notReady(): string | undefined {
    return this.#list ? undefined : `cni plugin not initialized: ${this.#problem}`;
  }

  /** Ranges are the plugins' own business. */
  async setPodCidr(): Promise<void> {}

  async add({ id, config, makeNamespace }: PodNetworkRequest): Promise<PodAddresses> {
    return this.#locks.run(id, async () => {
      const known = await this.#read(id);
      if (known) return { netnsPath: known.attachment.netnsPath, ips: known.ips };
      const list = this.#list;
      if (!list) throw failedPrecondition(`cannot set up the network of a Pod: ${this.notReady()}`);
      const attachment = this.#attachment(id, config);
      if (makeNamespace) await makeNamespace(attachment.netnsPath);
      else this.#netns.create(attachment.netnsPath);
      // Written before the first plugin runs: whatever happens, there is something to undo by.
      await this.#write(id, { attachment, list, result: undefined, ips: [] });
      try {
        const result = await this.#addAll(list, attachment);
        const ips = addressesOf(result);
        if (ips.length === 0) throw internal(`the network ${list.name} gave the Pod no address`);
        await this.#write(id, { attachment, list, result, ips });
        return { netnsPath: attachment.netnsPath, ips };
      } catch (error) {
        await this.#takeBack(id);
        throw error;
      }
    });
  }

  async #addAll(list: Conflist, attachment: Attachment): Promise<unknown> {
    let result: unknown;
    for (const plugin of list.plugins) result = await this.#call("ADD", list, plugin, attachment, result);
    return result;
  }

  async remove(id: string): Promise<void> {
    await this.#locks.run(id, () => this.#takeBack(id));
  }

  async #takeBack(id: string): Promise<void> {
    const record = await this.#read(id);
    if (!record) return;
    const { list, attachment, result } = record;
    for (const plugin of list.plugins.toReversed()) await this.#call("DEL", list, plugin, attachment, result);
    this.#netns.remove(attachment.netnsPath);
    await rm(this.#record(id), { force: true });
  }

  async recover(ids: ReadonlySet<string>): Promise<void> {
    for (const name of await readdir(path.join(this.#folder, "records")).catch(() => [])) {
      const id = path.basename(name, ".json");
      if (!ids.has(id)) await this.remove(id);
    }
  }

  async #call(
    command: "ADD" | "DEL",
    list: Conflist,
    plugin: PluginConfig,
    attachment: Attachment,
    previous: unknown,
  ): Promise<unknown> {
    const program = path.join(this.#options.binDir, plugin.type);
    const { code, stdout, stderr } = await this.#execute([program], {
      env: pluginEnv(command, this.#options.binDir, attachment),
      input: pluginInput(list, plugin, attachment, previous),
    }).catch((cause: unknown) => {
      throw notFound(`CNI plugin ${plugin.type} cannot be run`, {
        cause,
        hint: `install it below ${this.#options.binDir}`,
      });
    });
    if (code === 0) return stdout.trim() === "" ? previous : (JSON.parse(stdout) as unknown);
    throw unavailable(
      `plugin type="${plugin.type}" name="${list.name}" failed (${command.toLowerCase()}): ${complaint(stdout) || stderr.trim() || `exit code ${code}`}`,
    );
  }

  #attachment(id: string, { metadata, portMappings }: cri.PodSandboxConfig): Attachment {
    return {
      containerId: id,
      netnsPath: path.join(this.#folder, "netns", id),
      podNamespace: metadata.namespace,
      podName: metadata.name,
      podUid: metadata.uid,
      portMappings: portMappings.map(({ hostPort, containerPort, protocol, hostIp }) => ({
        hostPort,
        containerPort,
        protocol: protocol.toLowerCase(),
        ...(hostIp ? { hostIP: hostIp } : {}),
      })),
    };
  }

  #record(id: string): string {
    assert(/^[\w.-]+$/.test(id), "a sandbox id is a file name");
    return path.join(this.#folder, "records", `${id}.json`);
  }
  async #read(id: string): Promise<Record_ | undefined> {
    const text = await readFile(this.#record(id), "utf8").catch(() => undefined);
    return text === undefined ? undefined : (JSON.parse(text) as Record_);
  }
  async #write(id: string, record: Record_): Promise<void> {
    const file = this.#record(id);
    await writeFile(`${file}.new`, JSON.stringify(record), { mode: 0o600 });
    await rename(`${file}.new`, file);
  }
}

/** A plugin says what went wrong as JSON on stdout. */
function complaint(stdout: string): string {
  try {
    const { msg, details } = JSON.parse(stdout) as { msg?: string; details?: string };
    return [msg, details].filter(Boolean).join("; ");
  } catch {
    return "";
  }
}
