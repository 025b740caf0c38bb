import { existsSync } from "node:fs";
import { constants as osConstants } from "node:os";
import { hasCode, invalidArgument } from "../../base/index.ts";
import { type RuntimeContainer } from "../container/index.ts";
import type { ContainerRecord } from "./records.ts";
import type { CriState } from "./state.ts";

/** How long a monitor has to report the end of a process that is gone. */
const EXIT_PATIENCE_MS = 2_000;

/** How containers end: asked to, killed, or found dead; and what is written down of it. */
export class Endings {
  readonly #state: CriState;
  readonly #lost = new Set<string>();

  constructor(state: CriState) {
    this.#state = state;
  }

  async stop(containerId: string, timeoutSeconds: number): Promise<void> {
    const record = this.#state.containerRecords.get(containerId);
    const container = record && this.#state.runtimeContainer(containerId);
    if (!record || !container || container.state === "exited") return;
    if (container.state === "created") {
      await container.delete();
    } else {
      const exited = container.wait();
      if (timeoutSeconds > 0) {
        await ignoreGone(container.kill(signalNumber(record.stopSignal)));
        const patience = new AbortController();
        await Promise.race([
          exited,
          this.#state.deps.context.clock.sleep(timeoutSeconds * 1000, patience.signal).catch(() => {}),
        ]);
        patience.abort();
      }
      if ((container.state as string) !== "exited") await ignoreGone(container.kill(9));
      const patience = new AbortController();
      const late = this.#state.deps.context.clock.sleep(EXIT_PATIENCE_MS, patience.signal).catch(() => {});
      await Promise.race([exited, late]);
      patience.abort();
      // Its monitor was killed, so nobody tells of its end.
      if ((container.state as string) !== "exited") await container.delete();
    }
    await this.#settled(containerId);
  }

  /** A process that is gone, with a monitor that was killed before it could say so, has ended all the same. */
  noticeLost({ id, state, podSandboxId }: ContainerRecord, container: RuntimeContainer): void {
    if (state !== "CONTAINER_RUNNING" || this.#lost.has(id)) return;
    if (this.#state.sandboxes.get(podSandboxId)?.isolation !== "process" || existsSync(`/proc/${container.pid}`))
      return;
    this.#lost.add(id);
    void this.#state.deps.context.clock
      .sleep(EXIT_PATIENCE_MS)
      .then(() => this.stop(id, 0))
      .catch((error: unknown) => this.#state.deps.context.log.warn("a lost container stays", { id, error }))
      .finally(() => this.#lost.delete(id));
  }

  /** Until the record says what the runtime knows. */
  async #settled(containerId: string): Promise<void> {
    const record = this.#state.containerRecords.get(containerId);
    const container = this.#state.runtimeContainer(containerId);
    if (!record || record.state === "CONTAINER_EXITED") return;
    if (container) await this.#recordExit(record, container);
    else {
      await this.#state.containerRecords.put({
        ...record,
        state: "CONTAINER_EXITED",
        exitCode: 137,
        reason: "Error",
        finishedAt: this.#state.now(),
      });
      this.#state.tell(record, "CONTAINER_STOPPED_EVENT");
    }
  }

  watch(record: ContainerRecord, container: RuntimeContainer): void {
    void container.wait().then(
      () => this.#recordExit(record, container),
      () => {},
    );
  }

  async #recordExit({ id }: ContainerRecord, container: RuntimeContainer): Promise<void> {
    const exit = await container.wait();
    const record = this.#state.containerRecords.get(id);
    if (!record || record.state === "CONTAINER_EXITED") return;
    const reason = exit.oomKilled ? "OOMKilled" : exit.code === 0 ? "Completed" : "Error";
    await this.#state.containerRecords.put({
      ...record,
      state: "CONTAINER_EXITED",
      exitCode: exit.code,
      finishedAt: exit.atMs * 1e6,
      startedAt: record.startedAt || exit.atMs * 1e6,
      reason,
    });
    this.#state.tell(record, "CONTAINER_STOPPED_EVENT");
  }
}

async function ignoreGone(action: Promise<void>): Promise<void> {
  try {
    await action;
  } catch (error) {
    if (!hasCode(error, "notFound")) throw error;
  }
}

function signalNumber(name: string): number {
  if (/^\d+$/.test(name)) return Number(name);
  const full = name.toUpperCase().startsWith("SIG") ? name.toUpperCase() : `SIG${name.toUpperCase()}`;
  const number = (osConstants.signals as Record<string, number>)[full];
  if (number !== undefined) return number;
  const realtime = /^SIGRTMIN(?:\+(\d+))?$/.exec(full);
  if (realtime) return 34 + Number(realtime[1] ?? 0);
  throw invalidArgument(`unknown signal ${name}`);
}
