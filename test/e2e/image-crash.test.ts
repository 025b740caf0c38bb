/** kill -9 of the daemon in the middle of pulls, loads and pushes: on restart nothing lost, nothing leaked, and the same command works. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { seededRandom } from "../../src/base/index.ts";
import { startBerth, type TestBerth } from "../support/daemon.ts";
import { startDebianRegistry, temporaryDirectory } from "../support/image-engine.ts";

const ROUNDS = 6;
const random = seededRandom(7);
let directory: string;
let berth: TestBerth;
let registry: Awaited<ReturnType<typeof startDebianRegistry>>;
let archive: string;

before(async () => {
  directory = temporaryDirectory();
  registry = await startDebianRegistry(directory);
  berth = await startBerth();
  const tree = path.join(directory, "tree");
  fs.mkdirSync(tree);
  for (let index = 0; index < 400; index++)
    fs.writeFileSync(path.join(tree, `file-${index}`), Buffer.from(seededRandom(index).bytes(40_000)));
  archive = path.join(directory, "tree.tar");
  execFileSync("tar", ["-C", tree, "-cf", archive, "."]);
  await berth.docker("import", archive, `${registry.address}/big:1`);
  await berth.docker("push", `${registry.address}/big:1`);
  await berth.docker("save", "-o", path.join(directory, "saved.tar"), `${registry.address}/big:1`);
  await berth.docker("rmi", `${registry.address}/big:1`);
});

after(async () => {
  await berth?.stop();
  await registry?.stop();
  fs.rmSync(directory, { recursive: true, force: true });
});

/** Names below the data directory that are neither blobs and layers of images nor records. */
function leftovers(): string[] {
  const list = (name: string) => fs.readdirSync(path.join(berth.dataDir, name), { withFileTypes: true });
  const layers = list("snapshots/l").map((entry) => entry.name);
  const unfinished = layers.filter((name) => !name.includes(".") && !layers.includes(`${name}.json`));
  return [
    ...unfinished,
    ...layers.filter((name) => name.endsWith(".tmp")),
    ...list("content/blobs/sha256")
      .map((entry) => entry.name)
      .filter((name) => name.endsWith(".tmp")),
    ...fs.readdirSync(berth.dataDir).filter((name) => name.endsWith(".tmp")),
  ];
}

const imageId = async () => (await berth.docker("images", "-q", "--no-trunc", `${registry.address}/big`)).stdout.trim();

for (const verb of ["pull", "load"] as const) {
  test(`${verb} killed at ${ROUNDS} moments`, async () => {
    const args =
      verb === "pull" ? ["pull", `${registry.address}/big:1`] : ["load", "-i", path.join(directory, "saved.tar")];
    await berth.docker(...args);
    const id = await imageId();
    for (let round = 0; round < ROUNDS; round++) {
      await berth.docker("rmi", "-f", id);
      const running = berth.dockerWith({}, ...args);
      await new Promise((resolve) => setTimeout(resolve, 20 + random.float() * 250));
      await berth.kill();
      await running;
      await berth.start();
      assert.deepEqual(leftovers(), []);
      const found = await imageId();
      assert.ok(found === "" || found === id, `round ${round}: ${found}`);
      await berth.docker(...args);
      assert.equal(await imageId(), id);
    }
    await berth.docker("rmi", "-f", id);
    assert.deepEqual(fs.readdirSync(path.join(berth.dataDir, "snapshots/l")), []);
    assert.deepEqual(fs.readdirSync(path.join(berth.dataDir, "content/blobs/sha256")), []);
  });
}

test("a container's changes become an image by docker commit, while it runs", async () => {
  await berth.dockerWith({}, "rmi", "-f", "busybox");
  const made = await berth.berth("image", "bootstrap", "busybox");
  assert.equal(made.code, 0, made.stderr);
  const { stdout } = await berth.docker(
    "run",
    "-d",
    "--network",
    "none",
    "busybox",
    "sh",
    "-c",
    "echo kept > /kept; echo ready; sleep 60",
  );
  while (!(await berth.docker("logs", stdout.trim())).stdout.includes("ready"))
    await new Promise((resolve) => setTimeout(resolve, 50));
  await berth.docker("commit", "-c", 'CMD ["cat", "/kept"]', stdout.trim(), "committed:1");
  await berth.docker("rm", "-f", stdout.trim());
  assert.equal((await berth.docker("run", "--rm", "--network", "none", "committed:1")).stdout, "kept\n");
});
