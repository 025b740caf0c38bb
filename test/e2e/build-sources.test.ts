/** Where builds take from: archives, addresses, repositories, other images, caches elsewhere. By the real docker CLI. */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import http from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { Readable } from "node:stream";
import { test } from "node:test";
import { getAttribute } from "../../src/host/index.ts";
import { build, context, engine, refused, until, useBuildEngine } from "../support/build-cases.ts";
import { freePort, startDebianRegistry } from "../support/image-engine.ts";

useBuildEngine();

test("COPY --from keeps file capabilities, and the cache knows the difference", async () => {
  const folder = path.join(engine.directory, "capable");
  fs.mkdirSync(folder);
  fs.writeFileSync(`${folder}/tool`, "tool", { mode: 0o755 });
  const importAs = (tag: string) =>
    engine.images.import(
      Readable.from([execFileSync("tar", ["-C", folder, "--xattrs", "--xattrs-include=*", "-cf", "-", "tool"])]),
      { tag },
    );
  await importAs("plain");
  execFileSync("setcap", ["cap_net_raw+ep", `${folder}/tool`]);
  await importAs("capable");
  for (const [from, capable] of [
    ["plain", false],
    ["capable", true],
  ] as const) {
    const built = await build(`FROM scratch\nCOPY --from=${from} --chown=7:8 /tool /copied\n`);
    await built.look((root) => {
      assert.equal(fs.statSync(`${root}/copied`).uid, 7);
      assert.equal(getAttribute(`${root}/copied`, "security.capability") !== undefined, capable);
    });
  }
});

test("ADD unpacks archives of every compression, downloads URLs and verifies checksums", async () => {
  const directory = path.join(engine.directory, "archives");
  fs.mkdirSync(`${directory}/in/sub`, { recursive: true });
  fs.writeFileSync(`${directory}/in/sub/file`, "content");
  fs.chownSync(`${directory}/in/sub/file`, 12, 34);
  const archive = (name: string, ...flags: string[]) => {
    execFileSync("tar", [...flags, "-cf", `${directory}/${name}`, "-C", `${directory}/in`, "."]);
    return fs.readFileSync(`${directory}/${name}`);
  };
  const files = {
    "a.tar": archive("a.tar"),
    "b.tgz": archive("b.tgz", "-z"),
    "c.tbz": archive("c.tbz", "-j"),
    "d.txz": archive("d.txz", "-J"),
    "e.tzst": archive("e.tzst", "--zstd"),
  };
  const server = http.createServer((request, response) =>
    request.url === "/f.txt" ? response.end("remote") : response.writeHead(404).end(),
  );
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  try {
    const sum = "sha256:b07a9f2e13279e9c58bf11cd65bd66e0eaab9c09a0c3d8f5ab3ebb45b0a64ac6";
    const wrong = await refused(`FROM scratch\nADD --checksum=${sum} ${url}/f.txt /\n`);
    const actual = /got (sha256:[0-9a-f]{64})/.exec(wrong.stderr)?.[1];
    assert.ok(actual, wrong.stderr);
    assert.match((await refused(`FROM scratch\nADD ${url}/absent /\n`)).stderr, /the server answered 404/);
    const result = await build(
      `FROM scratch\nADD a.tar /a/\nADD b.tgz /b/\nADD c.tbz /c/\nADD d.txz /d/\nADD e.tzst /e/\nADD --unpack=false a.tar /raw/\nADD --checksum=${actual} ${url}/f.txt /r/\nADD a.tar b.tgz /both/\n`,
      files,
    );
    await result.look((root) => {
      for (const name of ["a", "b", "c", "d", "e", "both"]) {
        assert.equal(fs.readFileSync(`${root}/${name}/sub/file`, "utf8"), "content");
        assert.deepEqual(
          [fs.statSync(`${root}/${name}/sub/file`).uid, fs.statSync(`${root}/${name}/sub/file`).gid],
          [12, 34],
        );
      }
      assert.ok(fs.statSync(`${root}/raw/a.tar`).isFile());
      assert.equal(fs.readFileSync(`${root}/r/f.txt`, "utf8"), "remote");
      assert.equal(fs.statSync(`${root}/r/f.txt`).mode & 0o777, 0o600);
    });
  } finally {
    server.close();
  }
});

test("ADD and remote contexts take git repositories, at a reference and in a subdirectory", async () => {
  const repository = path.join(engine.directory, "repository");
  fs.mkdirSync(`${repository}/sub`, { recursive: true });
  fs.writeFileSync(`${repository}/sub/file`, "from git");
  fs.writeFileSync(`${repository}/Dockerfile`, "FROM scratch\nCOPY sub/file /f\n");
  const git = (...args: string[]) =>
    execFileSync("git", ["-C", repository, "-c", "user.name=t", "-c", "user.email=t@t", ...args]);
  git("init", "-q", "-b", "main");
  git("add", ".");
  git("commit", "-q", "-m", "first");
  git("tag", "v1");
  // A second repository that has the first as its submodule, named relative to itself.
  const outer = path.join(engine.directory, "outer");
  execFileSync("git", ["clone", "-q", repository, outer]);
  const outerGit = (...args: string[]) =>
    execFileSync(
      "git",
      ["-C", outer, "-c", "user.name=t", "-c", "user.email=t@t", "-c", "protocol.file.allow=always", ...args],
      { stdio: "pipe" },
    );
  outerGit("remote", "set-url", "origin", `${engine.directory}/outer`);
  outerGit("submodule", "--quiet", "add", repository, "inner");
  outerGit("config", "-f", ".gitmodules", "submodule.inner.url", "../repository");
  outerGit("commit", "-q", "-a", "-m", "with a submodule");
  const port = await freePort();
  const daemon = spawn(
    "git",
    [
      "daemon",
      "--export-all",
      `--base-path=${engine.directory}`,
      "--reuseaddr",
      "--listen=127.0.0.1",
      `--port=${port}`,
    ],
    { stdio: "ignore", detached: true },
  );
  try {
    const url = `git://127.0.0.1:${port}/repository`;
    await until(() => listening(port), "git serves");
    const result = await build(`FROM scratch\nADD ${url}#v1:sub /sub/\nADD --keep-git-dir ${url} /all\n`);
    await result.look((root) => {
      assert.equal(fs.readFileSync(`${root}/sub/file`, "utf8"), "from git");
      assert.equal(fs.existsSync(`${root}/sub/.git`), false);
      assert.ok(fs.existsSync(`${root}/all/.git`));
    });
    const nested = await build(`FROM scratch\nADD git://127.0.0.1:${port}/outer /outer\n`);
    await nested.look((root) => {
      assert.equal(fs.readFileSync(`${root}/outer/inner/sub/file`, "utf8"), "from git");
      assert.equal(fs.existsSync(`${root}/outer/inner/.git`), false);
    });
    assert.match((await refused(`FROM scratch\nADD ${url}#nope /x\n`)).stderr, /git fetch of .* failed/);
    assert.match((await refused("FROM scratch\nADD git@host:--upload-pack=x#y /x\n")).stderr, /failed|not a git/);
    const { imageId } = await engine.builder.build({ remote: url }, new AbortController().signal);
    assert.ok(await engine.images.find(imageId));
  } finally {
    process.kill(-daemon.pid!, "SIGKILL");
  }
});

function listening(port: number): boolean {
  const wanted = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  return fs
    .readFileSync("/proc/net/tcp", "utf8")
    .split("\n")
    .some((line) => line.split(/\s+/)[2]?.endsWith(wanted) && line.split(/\s+/)[4] === "0A");
}

test("a cache left in a registry or a folder serves a builder that has none, by the real CLI", async () => {
  const registry = await startDebianRegistry(engine.directory);
  try {
    const from = context({
      Dockerfile: "FROM busybox AS one\nRUN date +%N > /made\nFROM busybox\nCOPY --from=one /made /\n",
    });
    const folder = path.join(engine.directory, "left");
    const cacheTo = [`type=registry,ref=${registry.address}/cache:1,mode=max`, `type=local,dest=${folder},mode=max`];
    const tar = Readable.from([execFileSync("tar", ["-C", from, "-cf", "-", "."])]);
    const first = await engine.builder.build({ context: tar, tags: ["left"], cacheTo }, AbortSignal.timeout(60_000));
    for (const source of [`type=registry,ref=${registry.address}/cache:1`, `type=local,src=${folder}`]) {
      await engine.images.remove("left", { force: true });
      await engine.builder.cache.prune({ all: true });
      const again = await engine.docker(["build", "-t", "left", "--cache-from", source, from]);
      assert.equal(again.code, 0, again.stderr);
      assert.equal(again.stdout.match(/Using cache/g)?.length, 2, again.stdout);
      assert.equal((await engine.images.resolve("left")).id, first.imageId);
    }
  } finally {
    await registry.stop();
  }
});
