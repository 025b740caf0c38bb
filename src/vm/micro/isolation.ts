import { existsSync } from "node:fs";
import path from "node:path";
import { alreadyExists, failedPrecondition, notImplemented, type InstanceContext } from "../../base/index.ts";
import { Core, ProcessIsolation, type Isolation, type Sandbox, type SandboxRequest } from "../../engine/index.ts";
import { CACHE, forgetUnused, openKernel, touch } from "../guest/index.ts";
import { chooseAccelerator } from "../hypervisor/accelerator.ts";
import { microInitramfs } from "./guest/initramfs.ts";
import { makeHostRoot } from "./root.ts";
import { MicroSandbox, type MicroGuest, type MicroHost } from "./sandbox.ts";
import { forgetTemplateNetworks, saveTemplate, templateKey } from "./save.ts";
import { Templates } from "./template.ts";

/** Saved machines of so many kernels, versions and so on are kept. */
const MAX_TEMPLATE_KEYS = 3;
const TEMPLATE_KEY = /^[0-9a-f]{16}$/;

/**
 * Isolation by a kernel of its own: every sandbox is a small virtual machine, and a container in it an ordinary OCI container of the guest. Nothing is
 * made before the first sandbox.
 */
export class MicroIsolation implements Isolation {
  readonly name = "vm";
  readonly #context: InstanceContext;
  readonly #sandboxes = new Map<string, MicroSandbox>();
  #host: Promise<MicroHost & { readonly process: ProcessIsolation }> | undefined;

  constructor(context: InstanceContext) {
    // Records and control groups apart from those of the engine's own containers, which drops what it does not know.
    this.#context = {
      ...context,
      instance: `${context.instance}-vm`,
      runtimeDir: path.join(context.runtimeDir, "vm"),
      dataDir: path.join(context.dataDir, "vm"),
    };
  }

  async createSandbox(request: SandboxRequest): Promise<Sandbox> {
    if (this.#sandboxes.has(request.id)) throw alreadyExists(`sandbox ${request.id} exists already`);
    if (request.netnsPath === undefined)
      throw failedPrecondition("a microVM cannot use the host's network namespace: it has a kernel of its own", {
        hint: "use a network of berth's and publish ports, or leave --runtime vm out",
      });
    if (request.shared?.pid)
      throw notImplemented("containers of a Pod in a microVM do not share one pid namespace yet");
    const sandbox = await MicroSandbox.create(await this.#open(), request, this.#forget);
    this.#sandboxes.set(request.id, sandbox);
    return sandbox;
  }

  async recover(): Promise<Sandbox[]> {
    if (!existsSync(this.#context.runtimeDir)) return [];
    const host = await this.#open();
    forgetTemplateNetworks(this.#context);
    for (const inner of await host.process.recover()) {
      if (this.#sandboxes.has(inner.id)) continue;
      const sandbox = await MicroSandbox.recover(host, inner, this.#forget);
      if (sandbox) this.#sandboxes.set(inner.id, sandbox);
    }
    return [...this.#sandboxes.values()];
  }

  async close(): Promise<void> {
    const host = await this.#host?.catch(() => undefined);
    await host?.process.close();
  }

  readonly #forget = (id: string) => void this.#sandboxes.delete(id);

  #open() {
    this.#host ??= this.#make();
    this.#host.catch(() => (this.#host = undefined));
    return this.#host;
  }

  async #make() {
    const context = this.#context;
    const core = new Core(context);
    const root = path.join(context.runtimeDir, "root");
    await core.open();
    await makeHostRoot(root);
    let guest: ReturnType<MicroHost["guest"]> | undefined;
    return {
      context,
      core,
      process: new ProcessIsolation(core),
      root,
      guest() {
        guest ??= prepareGuest(this, context);
        guest.catch(() => (guest = undefined));
        return guest;
      },
    };
  }
}

async function prepareGuest(host: MicroHost, { clock, log }: InstanceContext): Promise<MicroGuest> {
  const kernel = await openKernel(CACHE);
  const initramfs = await microInitramfs(CACHE, kernel);
  const files = { image: kernel.image, initramfs };
  const accelerator = await chooseAccelerator(CACHE, files, log);
  const templates = path.join(CACHE, "templates");
  const folder = path.join(templates, await templateKey(files, accelerator));
  await touch(folder, clock);
  await forgetUnused(templates, TEMPLATE_KEY, MAX_TEMPLATE_KEYS, clock);
  const guest: MicroGuest = {
    ...files,
    accelerator,
    templates: new Templates(folder, { clock, log }, (shape, target) => saveTemplate(host, guest, shape, target)),
  };
  return guest;
}
