import { readFile } from "node:fs/promises";
import path from "node:path";
import { canceled } from "../../../base/index.ts";
import { defaultSeccompProfile } from "../../../host/index.ts";
import { boundingSet } from "../spec/capabilities.ts";
import { baseSpec } from "../spec/defaults.ts";
import { ociRlimits } from "../spec/ulimits.ts";
import { resolveUser } from "../spec/user.ts";
import type { Isolation, RunOnce, RunRequest, RuntimeExit } from "./types.ts";
import type { OciSpec } from "../../../api/index.ts";

/** Runs one process in a rootfs, with the same defaults as a container: what a build's RUN step is. */
export function createRunOnce(isolation: Isolation): RunOnce {
  return async (request, signal) => {
    if (signal?.aborted) throw canceled(`${request.id} was not started`, { cause: signal.reason });
    const network = request.network === "host" ? undefined : request.network;
    await using sandbox = disposable(await isolation.createSandbox({ id: request.id, netnsPath: network }, signal));
    const container = await sandbox.value.createContainer({ id: request.id, spec: await runSpec(request) }, signal);
    const stream = await container.attach();
    stream.onData(request.onOutput);
    const kill = () => void container.kill(9, true).catch(() => {});
    signal?.addEventListener("abort", kill, { once: true });
    try {
      await container.start();
      if (signal?.aborted) kill();
      const exit: RuntimeExit = await container.wait();
      await stream.ended;
      if (signal?.aborted) throw canceled(`${request.id} was canceled`, { cause: signal.reason });
      return exit;
    } finally {
      signal?.removeEventListener("abort", kill);
      stream.close();
    }
  };
}

async function runSpec(request: RunRequest): Promise<OciSpec> {
  const spec = baseSpec(request);
  const user = await resolveUser(request.rootfs, request.user ?? "");
  spec.process.user = { uid: user.uid, gid: user.gid, additionalGids: [...user.additionalGids] };
  const { capabilities } = spec.process;
  if (user.uid !== 0 && capabilities) spec.process.capabilities = { ...capabilities, effective: [], permitted: [] };
  if (!request.env.some((entry) => entry.startsWith("HOME="))) spec.process.env.push(`HOME=${user.home}`);
  spec.mounts.push(...(request.mounts ?? []));
  spec.linux.resources = { ...request.resources, ...spec.linux.resources };
  if (request.cgroupParent) spec.linux.cgroupsPath = path.join("/", request.cgroupParent, request.id);
  if (request.ulimits?.length) {
    const mayRaise = boundingSet(await readFile("/proc/self/status", "utf8")).has("CAP_SYS_RESOURCE");
    spec.process.rlimits = ociRlimits(request.ulimits, mayRaise).rlimits;
  }
  if (!request.privileged) spec.linux.seccomp = defaultSeccompProfile(capabilities?.bounding ?? [], process.arch);
  return spec;
}

function disposable<T extends { destroy(): Promise<void> }>(value: T): AsyncDisposable & { value: T } {
  return { value, [Symbol.asyncDispose]: () => value.destroy() };
}
