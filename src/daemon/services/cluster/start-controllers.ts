import type { runControllers } from "../../../controllers/index.ts";
import type { Started } from "../../supervisor.ts";

type Options = Parameters<typeof runControllers>[0];

/** Controllers as a part of the daemon: ready when their informers are, stopped when the last of them is. */
export async function startControllers(options: Options): Promise<Started<void>> {
  const { runControllers } = await import("../../../controllers/index.ts");
  const stop = new AbortController();
  const manager = runControllers(options, stop.signal);
  await manager.ready;
  return {
    value: undefined,
    stop: async () => {
      stop.abort();
      await manager.stopped;
    },
  };
}
