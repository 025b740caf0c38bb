import { deadlineExceeded, hasCode, unavailable, type Clock } from "../../base/index.ts";
import type { Machine } from "./machine.ts";

const ASK_MS = 1_000;
const POLL_MS = 500;
const MIN_SETTLE_MS = 5_000;
/** Users and host keys are there when cloud-init has written its result. */
const SETTLED = [
  "/bin/sh",
  "-c",
  "[ ! -d /run/cloud-init ] || until [ -e /run/cloud-init/result.json ]; do sleep 0.3; done",
];

/** Resolves when the guest's agent answers and cloud-init, where the guest has it, is done; throws deadlineExceeded with the last console lines when it never does. */
export async function untilReady(machine: Machine, clock: Clock, timeoutMs: number): Promise<void> {
  const deadline = clock.monotonicMs() + timeoutMs;
  while (!(await machine.agent.answers(ASK_MS))) {
    const { name, state, reason } = machine.record;
    if (!machine.live) throw unavailable(`${name} is ${state}: ${reason ?? "it ended"}`);
    if (clock.monotonicMs() > deadline) {
      const said = (await machine.lastLines()).map((line) => `  ${line}`).join("\n");
      throw deadlineExceeded(
        `${name} was not ready within ${timeoutMs / 1000} s (no agent answers); its console ends with:\n${said}`,
        { hint: "it goes on; look at `berth vm logs`, or connect with `berth vm console`" },
      );
    }
    await clock.sleep(POLL_MS);
  }
  machine.agentSeen();
  const leftMs = Math.max(MIN_SETTLE_MS, deadline - clock.monotonicMs());
  if (machine.record.guest === "system") await machine.agent.exec(SETTLED, { timeoutMs: leftMs }).catch(settlesUnseen);
}

/** Guests without a shell, or whose agent runs no programs, are taken as they are. */
function settlesUnseen(error: unknown): void {
  if (hasCode(error, "deadlineExceeded", "internal")) throw error;
}
