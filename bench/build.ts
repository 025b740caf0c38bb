/**
 * Builds, berth beside dockerd with the same docker CLI and the classic builder: `node bench/build.ts [rounds]` (root).
 *
 * five steps: FROM, WORKDIR, COPY of 1 MB, RUN, CMD. 200 MB: FROM and one COPY. cold: --no-cache, the daemon warm; cached: nothing has changed.
 */
import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { startBerth } from "../test/support/daemon.ts";
import { berthContender, compare, report, shareBusybox, startDockerd, timed, type Contender } from "./lib.ts";

const rounds = Number(process.argv[2] ?? 7);
const directory = fs.mkdtempSync(path.join(os.tmpdir(), "berth-bench-build-"));

function context(name: string, dockerfile: string, megabytes: number): string {
  const folder = path.join(directory, name);
  fs.mkdirSync(folder);
  fs.writeFileSync(path.join(folder, "Dockerfile"), dockerfile);
  const fd = fs.openSync(path.join(folder, "data"), "w");
  for (let written = 0; written < megabytes; written++) fs.writeSync(fd, randomBytes(1_000_000));
  fs.closeSync(fd);
  return folder;
}

const berth = await startBerth({ env: { BERTH_KUBERNETES: "0" } });
const dockerd = await startDockerd();
try {
  const own = berthContender(berth);
  const contenders = [own, ...(dockerd ? [dockerd] : [])];
  await berth.berth("image", "bootstrap", "busybox");
  shareBusybox(contenders);
  const five = context("five", 'FROM busybox\nWORKDIR /app\nCOPY . .\nRUN echo built > /app/result\nCMD ["sh"]\n', 1);
  const big = context("big", "FROM busybox\nCOPY . /data/\n", 200);
  const build = (folder: string, ...flags: string[]) => ({
    run: (contender: Contender) => timed(contender, ["docker", "build", ...flags, "-t", path.basename(folder), folder]),
  });
  for (const contender of contenders) for (const folder of [five, big]) build(folder).run(contender);
  const rows = await compare(
    [
      { name: "docker version (the client itself)", run: (contender) => timed(contender, ["docker", "version"]) },
      { name: "five steps, cold", limit: 0.35, ...build(five, "--no-cache") },
      { name: "five steps, cached", limit: 0.6, ...build(five) },
      { name: "COPY of 200 MB, cold", limit: 0.35, ...build(big, "--no-cache") },
      { name: "COPY of 200 MB, cached", limit: 0.3, ...build(big) },
    ],
    contenders,
    rounds,
  );
  if (!report(rows)) process.exitCode = 1;
} finally {
  if (dockerd) spawnSync("docker", ["system", "prune", "-af"], { env: dockerd.env, timeout: 20_000 });
  await dockerd?.stop();
  await berth.stop();
  fs.rmSync(directory, { recursive: true, force: true });
}
