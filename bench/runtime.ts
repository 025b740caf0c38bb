/**
 * A container's start beside the bare runtime's: `node bench/runtime.ts [rounds]` (root). berth: `POST /containers/{id}/start` until it answers.
 * crun: `create` and `start` of the bundle that berth made for the same container, with the seccomp profile as text, as any engine gives it.
 */
import { spawn, spawnSync } from "node:child_process";
import fs from "node:fs";
import http from "node:http";
import path from "node:path";
import { startBerth } from "../test/support/daemon.ts";
import { median, report, rowOf } from "./lib.ts";

const rounds = Number(process.argv[2] ?? 25);
const berth = await startBerth();
await berth.berth("image", "bootstrap", "busybox");

function post(pathName: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const request = http.request({ socketPath: berth.dockerSocket, path: pathName, method: "POST" }, (response) => {
      response.resume();
      response.on("end", () =>
        response.statusCode! < 300 ? resolve() : reject(new Error(`${pathName}: ${response.statusCode}`)),
      );
    });
    request.on("error", reject);
    request.end();
  });
}

async function startMs(): Promise<number> {
  const { stdout } = await berth.docker("create", "--network", "none", "busybox", "sleep", "1000");
  const startedMs = performance.now();
  await post(`/containers/${stdout.trim()}/start`);
  const tookMs = performance.now() - startedMs;
  await berth.docker("rm", "-f", stdout.trim());
  return tookMs;
}

/** The bundle of a running container, as a bare runtime may take it. */
async function copyBundle(): Promise<string> {
  const { stdout } = await berth.docker("run", "-d", "--network", "none", "busybox", "sleep", "1000");
  const id = stdout.trim();
  const found = fs
    .globSync(`${berth.runtimeDir}/**/config.json`)
    .find((file) => file.includes(id) && fs.readFileSync(file, "utf8").includes('"ociVersion"'));
  const spec = JSON.parse(fs.readFileSync(found!, "utf8"));
  const bundle = path.join(berth.directory, "bundle");
  const rootfs = path.join(bundle, "rootfs");
  fs.mkdirSync(rootfs, { recursive: true });
  await berth.dockerWith({}, "export", "-o", path.join(bundle, "root.tar"), id);
  spawnSync("tar", ["-C", rootfs, "-xf", path.join(bundle, "root.tar")]);
  delete spec.annotations;
  spec.root.path = rootfs;
  spec.process.terminal = false;
  spec.mounts = spec.mounts.filter((mount: { source?: string }) => !mount.source?.startsWith(berth.directory));
  spec.linux.cgroupsPath = `/berth-bench-${process.pid}`;
  for (const namespace of spec.linux.namespaces) delete namespace.path;
  fs.writeFileSync(path.join(bundle, "config.json"), JSON.stringify(spec));
  await berth.docker("rm", "-f", id);
  return bundle;
}

const bundle = await copyBundle();
const prepare = "mount --make-rprivate /; umount /sys/fs/cgroup/unified 2>/dev/null; echo; exec sleep infinity";
const holder = spawn("unshare", ["--mount", "sh", "-c", prepare], { stdio: ["ignore", "pipe", "ignore"] });
await new Promise((resolve) => holder.stdout!.once("data", resolve));
const crun = (...args: string[]) => {
  const argv = ["-t", String(holder.pid!), "-m", "crun", "--root", path.join(berth.directory, "crun"), ...args];
  // A created container holds its output open: a pipe would never end.
  const result = spawnSync("nsenter", argv, { stdio: "ignore" });
  if (result.status !== 0) throw new Error(`crun ${args[0]}: exit ${result.status}`);
};
function bareMs(round: number): number {
  const id = `bench-${process.pid}-${round}`;
  const startedMs = performance.now();
  crun("create", "--bundle", bundle, id);
  crun("start", id);
  const tookMs = performance.now() - startedMs;
  crun("delete", "--force", id);
  return tookMs;
}

try {
  const [own, bare]: [number[], number[]] = [[], []];
  await startMs();
  for (let round = 0; round < rounds; round++) {
    own.push(await startMs());
    bare.push(bareMs(round));
  }
  const row = rowOf("start of a container", { berth: median(own), "bare crun": median(bare) }, 1.3);
  if (!report([row])) process.exitCode = 1;
} finally {
  holder.kill("SIGKILL");
  await berth.stop();
}
