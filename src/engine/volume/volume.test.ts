import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, test } from "node:test";
import { FakeClock, hasCode, seededRandom, silentLogger, type InstanceContext } from "../../base/index.ts";
import { openVolumes } from "./index.ts";
import { mountPlan, withServerAddress } from "./options.ts";

const folders: string[] = [];
afterEach(() => folders.splice(0).forEach((folder) => rmSync(folder, { recursive: true })));

function context(): InstanceContext {
  const folder = mkdtempSync(path.join(tmpdir(), "berth-volume-"));
  folders.push(folder);
  const [dataDir, runtimeDir] = [path.join(folder, "data"), path.join(folder, "run")];
  return { instance: "t", dataDir, runtimeDir, clock: new FakeClock(), random: seededRandom(1), log: silentLogger };
}

test("creating twice gives the same volume; other options are a conflict", async () => {
  const volumes = await openVolumes(context());
  const first = await volumes.create({ name: "data", labels: { a: "1" } });
  assert.deepEqual(await volumes.create({ name: "data" }), first);
  const options = { type: "tmpfs", device: "tmpfs" };
  await assert.rejects(volumes.create({ name: "data", options }), (error) => hasCode(error, "conflict"));
});

test("a volume that is held survives removal, pruning and a restart", async () => {
  const ctx = context();
  const volumes = await openVolumes(ctx);
  await volumes.create({ name: "data" });
  const { name: anonymous } = await volumes.create({});
  assert.match(anonymous, /^[0-9a-f]{64}$/);
  volumes.hold("data", "c1");
  await assert.rejects(volumes.remove("data"), /volume is in use - \[c1\]/);
  const again = await openVolumes(ctx);
  const { removed } = await again.prune(() => true);
  assert.deepEqual(
    removed.map((volume) => volume.name),
    [anonymous],
  );
  await again.recover(new Set());
  await again.remove("data");
  assert.throws(() => again.get("data"), /no such volume/);
  await again.remove("data", true);
  await assert.rejects(again.remove("data"), (error) => hasCode(error, "notFound"));
});

test("an empty volume takes content, owner and mode from the image, a full one keeps its own", async () => {
  const ctx = context();
  const volumes = await openVolumes(ctx);
  const image = path.join(ctx.dataDir, "image");
  mkdirSync(path.join(image, "srv/app"), { recursive: true });
  writeFileSync(path.join(image, "srv/app/file"), "image");
  symlinkSync("/srv/app", path.join(image, "link"));
  statSync(path.join(image, "srv/app"));
  const { mountpoint } = await volumes.create({ name: "data" });
  await volumes.populate("data", image, "/nowhere");
  await volumes.populate("data", image, "/link");
  assert.equal(readFileSync(path.join(mountpoint, "file"), "utf8"), "image");
  writeFileSync(path.join(mountpoint, "file"), "mine");
  await volumes.populate("data", image, "/link");
  assert.equal(readFileSync(path.join(mountpoint, "file"), "utf8"), "mine");
  assert.deepEqual(
    (await volumes.usage()).map((one) => [one.sizeBytes, one.refCount]),
    [[4, 0]],
  );
});

test("an image's symlink cannot lead the copy out of the image", async () => {
  const ctx = context();
  const volumes = await openVolumes(ctx);
  const secret = path.join(ctx.dataDir, "secret");
  const image = path.join(ctx.dataDir, "image");
  mkdirSync(secret, { recursive: true });
  writeFileSync(path.join(secret, "key"), "x");
  mkdirSync(path.join(image, "a"), { recursive: true });
  symlinkSync("../../secret", path.join(image, "a/up"));
  symlinkSync(secret, path.join(image, "absolute"));
  symlinkSync("loop", path.join(image, "loop"));
  const { mountpoint } = await volumes.create({ name: "data" });
  for (const inner of ["/a/up", "/absolute"]) await volumes.populate("data", image, inner);
  assert.throws(() => readFileSync(path.join(mountpoint, "key")));
  await assert.rejects(volumes.populate("data", image, "/loop"), /too many levels/);
});

test("a subpath stays in its volume", async () => {
  const ctx = context();
  const volumes = await openVolumes(ctx);
  const { mountpoint } = await volumes.create({ name: "data" });
  mkdirSync(path.join(mountpoint, "sub/dir"), { recursive: true });
  symlinkSync("/etc", path.join(mountpoint, "etc"));
  assert.equal(await volumes.subpath("data", "sub/dir"), path.join(mountpoint, "sub/dir"));
  for (const bad of ["/sub", "../x", "sub/../../x", "etc"]) {
    await assert.rejects(volumes.subpath("data", bad), (error) => hasCode(error, "invalidArgument"), bad);
  }
  await assert.rejects(volumes.subpath("data", "none"), (error) => hasCode(error, "notFound"));
});

test("names, drivers and options are checked as Docker's local driver does", async () => {
  const volumes = await openVolumes(context());
  const cases: [Parameters<typeof volumes.create>[0], RegExp][] = [
    [{ name: "../x" }, /includes invalid characters/],
    [{ name: "a" }, /includes invalid characters/],
    [{ driver: "nfs" }, /plugin "nfs" not found/],
    [{ options: { size: "1g" } }, /no quota support/],
    [{ options: { nonsense: "1" } }, /invalid option: "nonsense"/],
    [{ options: { type: "nfs" } }, /missing required option: "device"/],
  ];
  for (const [spec, message] of cases) await assert.rejects(volumes.create(spec), message);
});

test("driver options become mount(2) arguments", () => {
  assert.deepEqual(mountPlan({ type: "none", device: "/srv", o: "bind,ro" }), {
    source: "/srv",
    type: null,
    flags: 4097,
    data: null,
  });
  assert.deepEqual(mountPlan({ type: "tmpfs", device: "tmpfs", o: "size=1m,uid=5,nosuid,rw" }), {
    source: "tmpfs",
    type: "tmpfs",
    flags: 2,
    data: "size=1m,uid=5",
  });
  assert.equal(mountPlan({}), undefined);
});

test("the server of a network file system is mounted by its address", async () => {
  const lookup = (host: string) =>
    host === "files.test" ? Promise.resolve({ address: "192.0.2.7" }) : Promise.reject(new Error("no such host"));
  const asked = (o: string, type = "nfs") => withServerAddress({ type, device: ":/srv", o }, lookup);
  assert.equal((await asked("ro,addr=files.test,nfsvers=4"))["o"], "ro,addr=192.0.2.7,nfsvers=4");
  assert.equal((await asked("addr=192.0.2.1"))["o"], "addr=192.0.2.1");
  assert.equal((await asked("addr=2001:db8::1,ro"))["o"], "addr=2001:db8::1,ro");
  assert.equal((await asked("addr=files.test", "tmpfs"))["o"], "addr=files.test");
  await assert.rejects(asked("addr=nowhere.test"), /error resolving passed in network volume address: nowhere\.test/);
});

test("an anonymous volume of a creation that a crash cut short goes at the next start; one that was let go of stays", async () => {
  const ctx = context();
  const volumes = await openVolumes(ctx);
  const { name: unfinished } = await volumes.create({ holder: "never" });
  const { name: kept } = await volumes.create({ holder: "removed" });
  const { name: used } = await volumes.create({ holder: "c1" });
  await volumes.create({ name: "named", holder: "never" });
  volumes.release(kept, "removed");
  const again = await openVolumes(ctx);
  await again.recover(new Set(["c1"]));
  assert.throws(() => again.get(unfinished), /no such volume/);
  assert.deepEqual(new Set(again.list().map(({ name }) => name)), new Set([kept, used, "named"]));
  assert.deepEqual(again.holders(used), ["c1"]);
});

test("a removal that a crash cut short is finished at the next start", async () => {
  const ctx = context();
  const volumes = await openVolumes(ctx);
  const { mountpoint } = await volumes.create({ name: "data" });
  const file = path.join(ctx.dataDir, "volume-records", "data.json");
  const record = JSON.parse(readFileSync(file, "utf8")) as object;
  writeFileSync(file, JSON.stringify({ ...record, removing: true }));
  const again = await openVolumes(ctx);
  assert.deepEqual(again.list(), []);
  await again.recover(new Set());
  assert.equal(statSync(mountpoint, { throwIfNoEntry: false }), undefined);
  assert.equal(statSync(file, { throwIfNoEntry: false }), undefined);
});
