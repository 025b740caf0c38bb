import { existsSync } from "node:fs";
import path from "node:path";
import type { InstanceContext } from "../../base/index.ts";
import type { Isolation, Sandbox, SandboxRequest } from "../../engine/index.ts";

/** The microVM isolation, whose code is loaded with the first microVM: who uses none pays nothing. */
export function vmIsolation(context: InstanceContext): Isolation {
  let loading: Promise<Isolation> | undefined;
  const load = () => {
    loading ??= import("../../vm/index.ts").then(({ MicroIsolation }) => new MicroIsolation(context));
    return loading;
  };
  return {
    name: "vm",
    async createSandbox(request: SandboxRequest, signal?: AbortSignal): Promise<Sandbox> {
      return (await load()).createSandbox(request, signal);
    },
    async recover(): Promise<Sandbox[]> {
      return existsSync(path.join(context.runtimeDir, "vm")) ? (await load()).recover() : [];
    },
    async close(): Promise<void> {
      await (await loading)?.close();
    },
  };
}
