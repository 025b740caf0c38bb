/**
 * Push and pull of one layer of 173 MB, berth beside dockerd, each with a docker-registry of its own on its loopback: `node bench/images.ts
 * [rounds]` (root). Three quarters of the layer don't compress, as with programs and wheels; the registry forgets the image between pushes.
 */
import { execFileSync, spawn, spawnSync, type ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { startBerth } from "../test/support/daemon.ts";
import { berthContender, compare, report, startDockerd, timed, type Contender } from "./lib.ts";

const rounds = Number(process.argv[2] ?? 3);
const directory = fs.mkdtempSync(path.join(os.tmpdir(), "berth-bench-images-"));
const PORT = 5917;
const NAME = `127.0.0.1:${PORT}/bench/big:1`;
const storage = (contender: Contender) => path.join(directory, contender.name);
const registries: ChildProcess[] = [];

function startRegistry(contender: Contender): void {
  fs.mkdirSync(storage(contender), { recursive: true });
  const file = path.join(directory, `${contender.name}.yml`);
  fs.writeFileSync(
    file,
    `version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: ${storage(contender)}\nhttp:\n  addr: 127.0.0.1:${PORT}\n`,
  );
  const argv = [...contender.enter, "docker-registry", "serve", file];
  registries.push(spawn(argv[0]!, argv.slice(1), { stdio: "ignore" }));
}

function layer(): string {
  const tree = path.join(directory, "tree");
  fs.mkdirSync(tree);
  for (let index = 0; index < 300; index++) {
    const text = Buffer.from(`line ${index} of a file that compresses well\n`.repeat(4000));
    fs.writeFileSync(path.join(tree, `file-${index}`), Buffer.concat([randomBytes(576_000), text]));
  }
  const archive = path.join(directory, "layer.tar");
  execFileSync("tar", ["-C", tree, "-cf", archive, "."]);
  return archive;
}

const berth = await startBerth({ env: { BERTH_KUBERNETES: "0" } });
const dockerd = await startDockerd();
try {
  const own = berthContender(berth);
  const contenders = [own, ...(dockerd ? [dockerd] : [])];
  for (const contender of contenders) startRegistry(contender);
  const archive = layer();
  const docker = (contender: Contender, ...args: string[]) =>
    execFileSync("docker", args, { env: contender.env, stdio: "ignore" });
  const push = (contender: Contender) => {
    // Imported anew, so that no packed form is at hand; the time of the import doesn't count.
    spawnSync("docker", ["rmi", "-f", NAME], { env: contender.env });
    fs.rmSync(path.join(storage(contender), "docker"), { recursive: true, force: true });
    docker(contender, "import", archive, NAME);
    return timed(contender, ["docker", "push", NAME]);
  };
  const pull = (contender: Contender) => {
    docker(contender, "rmi", "-f", NAME);
    return timed(contender, ["docker", "pull", NAME]);
  };
  const rows = await compare(
    [
      { name: "push, one layer", limit: 0.35, run: push },
      { name: "pull, one layer", limit: 0.35, run: pull },
    ],
    contenders,
    rounds,
  );
  if (!report(rows)) process.exitCode = 1;
} finally {
  for (const registry of registries) registry.kill("SIGKILL");
  await dockerd?.stop();
  await berth.stop();
  fs.rmSync(directory, { recursive: true, force: true });
}
