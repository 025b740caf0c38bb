/**
 * Containers, berth beside dockerd and podman: `node bench/containers.ts [rounds]` (root). The client's own time is in every figure, as its
 * users have it; the first row says how much that is.
 */
import fs from "node:fs";
import { startBerth } from "../test/support/daemon.ts";
import {
  berthContender,
  client,
  compare,
  cpuMsOf,
  parallel,
  pssOf,
  report,
  shareBusybox,
  sleep,
  startDockerd,
  startPodman,
  type Contender,
} from "./lib.ts";

const rounds = Number(process.argv[2] ?? 15);
const IDLE_MS = 10_000;
const CROWD = 10;

const berth = await startBerth();
const dockerd = await startDockerd();
const podman = await startPodman();
const contenders = [berthContender(berth), ...(dockerd ? [dockerd] : []), ...(podman ? [podman] : [])];
const daemons = contenders.filter((contender) => contender !== podman);

const run = (...args: string[]) => ({ run: (contender: Contender) => client(contender, "run", "--rm", ...args) });
const crowd = (...flags: string[]) => ({
  rounds: Math.min(rounds, 5),
  run: (contender: Contender) =>
    parallel(
      contender,
      Array.from({ length: CROWD }, () => ["run", "--rm", ...flags, "busybox", "true"]),
    ),
});

/** What one running container adds to the contender's own processes. */
async function memoryPerContainer(contender: Contender): Promise<number> {
  const before = pssOf(contender.processes());
  const names = Array.from({ length: CROWD }, (_, index) => `memory-${index}`);
  for (const name of names) client(contender, "run", "-d", "--name", name, "busybox", "sleep", "1000");
  await sleep(1000);
  const after = pssOf(contender.processes());
  client(contender, "rm", "-f", ...names);
  return (after - before) / CROWD;
}

async function idleCpu(contender: Contender): Promise<number> {
  const pids = contender.processes();
  const before = cpuMsOf(pids);
  await sleep(IDLE_MS);
  return ((cpuMsOf(pids) - before) / IDLE_MS) * 100;
}

try {
  await berth.berth("image", "bootstrap", "busybox");
  shareBusybox(contenders);
  await sleep(5000);
  const rows = await compare(
    [
      {
        name: "idle after a bootstrap and a save: memory (PSS)",
        unit: "MiB",
        rounds: 1,
        run: (contender) => pssOf(contender.processes()),
      },
      { name: "idle: share of a core", unit: "%", rounds: 1, run: idleCpu },
    ],
    daemons,
    1,
  );
  for (const contender of contenders) {
    client(contender, "run", "--rm", "busybox", "true");
    client(contender, "run", "-d", "--name", "target", "busybox", "sleep", "10000");
  }
  rows.push(
    ...(await compare(
      [
        { name: "the client itself (ps)", run: (contender) => client(contender, "ps", "-q") },
        { name: "run --rm busybox true", limit: 0.3, ...run("busybox", "true") },
        { name: "run --rm --network none", limit: 0.3, ...run("--network", "none", "busybox", "true") },
        { name: "exec true", limit: 0.5, run: (contender) => client(contender, "exec", "target", "true") },
        { name: "ten runs at once", limit: 0.3, ...crowd() },
        { name: "ten runs at once, no network", limit: 0.3, ...crowd("--network", "none") },
        {
          name: "run -d",
          limit: 0.3,
          run: (contender, round) => client(contender, "run", "-d", "--name", `r${round}`, "busybox", "sleep", "1000"),
        },
        { name: "stop -t 0", run: (contender, round) => client(contender, "stop", "-t", "0", `r${round}`) },
        { name: "rm", run: (contender, round) => client(contender, "rm", `r${round}`) },
        { name: "memory per running container", unit: "MiB", limit: 0.4, rounds: 1, run: memoryPerContainer },
      ],
      contenders,
      rounds,
    )),
  );
  if (!report(rows)) process.exitCode = 1;
} finally {
  await podman?.stop();
  if (dockerd) {
    client(dockerd, "rm", "-f", "target");
    await dockerd.stop();
  }
  await berth.stop();
  fs.rmSync(berth.directory, { recursive: true, force: true });
}
