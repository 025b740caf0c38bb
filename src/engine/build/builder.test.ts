import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { Readable } from "node:stream";
import { afterEach, beforeEach, test } from "node:test";
import tar from "tar-stream";
import { codeOf, FakeClock, messageOf, seededRandom, silentLogger } from "../../base/index.ts";
import { createBuilder } from "./builder.ts";
import { CacheStore } from "./cache/store.ts";
import { ClassicProgress } from "./progress/index.ts";
import type { Builder, BuildRequest, BuildEvent } from "./types.ts";
import { FakeWorker } from "./worker/fake.ts";

let root: string;
let worker: FakeWorker;
let builder: Builder;

beforeEach(() => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), "berth-build-"));
  worker = new FakeWorker(root);
  worker.addImage("busybox", {
    "etc/passwd": "root:x:0:0::/:/bin/sh\napp:x:101:102::/:/bin/sh\n",
    "etc/group": "staff:x:50:\n",
    "bin/sh": "#!",
  });
  builder = open();
});
afterEach(() => {
  const scratch = fs.readdirSync(worker.scratchDir);
  fs.rmSync(root, { recursive: true, force: true });
  assert.equal(worker.open, 0, "a draft or a view was left open");
  assert.deepEqual(scratch, [], "scratch files were left");
});

function open(): Builder {
  const clock = new FakeClock();
  const directory = path.join(root, "build");
  const cache = new CacheStore(path.join(directory, "cache"), clock);
  return createBuilder({ worker, cache, directory, clock, random: seededRandom(1), log: silentLogger });
}

function context(files: Record<string, string>, mtime = new Date(1e12)): AsyncIterable<Uint8Array> {
  const pack = tar.pack();
  for (const [name, content] of Object.entries(files)) pack.entry({ name, mtime, mode: 0o644 }, content);
  pack.finalize();
  return Readable.from(pack) as AsyncIterable<Uint8Array>;
}

interface Outcome {
  events: BuildEvent[];
  /** Names of steps that came out of the cache. */
  cached: string[];
  config: Awaited<ReturnType<Builder["build"]>>["config"];
  imageId: string;
  warnings: readonly string[];
  read(name: string): string;
  exists(name: string): boolean;
}

async function build(
  dockerfile: string,
  files: Record<string, string> = {},
  request: Partial<BuildRequest> = {},
  mtime?: Date,
): Promise<Outcome> {
  const events: BuildEvent[] = [];
  const result = await builder.build(
    {
      context: context({ Dockerfile: dockerfile, ...files }, mtime),
      onProgress: (event) => events.push(event),
      ...request,
    },
    request.context ? AbortSignal.timeout(1000) : new AbortController().signal,
  );
  const { chainId } = worker.published.at(-1)!;
  const file = (name: string) => path.join(worker.rootOf(chainId), name);
  return {
    events,
    cached: events.flatMap((event) => (event.kind === "cached" ? event.vertex.name : [])),
    ...result,
    read: (name) => fs.readFileSync(file(name), "utf8"),
    exists: (name) => fs.existsSync(file(name)),
  };
}

/** A RUN that appends its command line to /log. */
function logging() {
  const ran: string[] = [];
  worker.command = (spec, directory) => {
    ran.push(spec.args.at(-1)!);
    fs.appendFileSync(path.join(directory, "log"), `${spec.args.join(" ")}\n`);
    return 0;
  };
  return ran;
}

test("the five steps of an ordinary Dockerfile, then all of them out of the cache", async () => {
  const ran = logging();
  const dockerfile = 'FROM busybox\nWORKDIR /app\nCOPY . .\nRUN make\nEXPOSE 80 53/udp\nCMD ["serve"]\n';
  const first = await build(dockerfile, { "a.txt": "A", "sub/b.txt": "B" }, { tags: ["app:1"] });
  assert.equal(first.read("app/a.txt"), "A");
  assert.equal(first.read("app/sub/b.txt"), "B");
  assert.deepEqual(first.config.config, {
    WorkingDir: "/app",
    ExposedPorts: { "80/tcp": {}, "53/udp": {} },
    Cmd: ["serve"],
  });
  assert.deepEqual(worker.published[0]!.tags, ["app:1"]);
  assert.deepEqual(first.cached, []);
  const again = await build(dockerfile, { "a.txt": "A", "sub/b.txt": "B" }, {}, new Date(2e12));
  assert.deepEqual(again.cached, ["WORKDIR /app", "COPY . .", "RUN make"], "modification times don't count");
  assert.equal(again.imageId, first.imageId, "the same image comes out of the cache");
  const changed = await build(dockerfile, { "a.txt": "A!", "sub/b.txt": "B" });
  assert.deepEqual(changed.cached, ["WORKDIR /app"]);
  assert.deepEqual(ran, ["make", "make"]);
});

test("build checks are told with the result, and end the build where the Dockerfile says so", async () => {
  const lines = "FROM busybox\nARG GIVEN\nENV X=$GIVEN${NONE:-y} Y=$PATHS\nLABEL z=$PATHS\n";
  const told = await build(lines);
  assert.deepEqual(told.warnings, [
    "UndefinedVar: Usage of undefined variable '$PATHS' (line 3)",
    "UndefinedVar: Usage of undefined variable '$PATHS' (line 4)",
  ]);
  assert.deepEqual((await build(`# check=skip=UndefinedVar\n${lines}`)).warnings, []);
  await assert.rejects(build("# check=error=true\nFROM busybox\nCMD x\n"), {
    code: "invalidArgument",
    message: /lint violation found for rules: JSONArgsRecommended\n.*\(line 3\)/,
  });
});

test("no-cache builds everything again, and the cache survives the builder", async () => {
  const ran = logging();
  const dockerfile = "FROM busybox\nRUN one\n";
  await build(dockerfile);
  await build(dockerfile, {}, { noCache: true });
  assert.equal(ran.length, 2);
  fs.appendFileSync(path.join(root, "build/cache/records.jsonl"), '{"put":{"key":"hal');
  builder = open();
  assert.deepEqual((await build(dockerfile)).cached, ["RUN one"], "a half line at the end is left out");
});

test("ARG reaches RUN and counts for its cache, ENV wins over ARG, build-args win over defaults", async () => {
  const seen: string[][] = [];
  worker.command = (spec) => {
    seen.push(spec.env.filter((entry) => !entry.startsWith("PATH=")));
    return 0;
  };
  const dockerfile =
    'ARG BASE=busybox\nFROM $BASE\nARG A=1\nARG B\nARG BASE\nENV C=${A:-x}${B:+y} D="d e"\nARG C=nope\nRUN env\n';
  await build(dockerfile);
  const second = await build(dockerfile, {}, { buildArgs: { A: "2", B: "b", UNUSED: "u" } });
  assert.deepEqual(seen[0], ["A=1", "BASE=busybox", "C=1", "D=d e"]);
  assert.deepEqual(seen[1], ["A=2", "B=b", "BASE=busybox", "C=2y", "D=d e"]);
  assert.deepEqual(second.warnings, ["One or more build-args [UNUSED] were not consumed"]);
  assert.deepEqual(second.config.config?.Env, ["C=2y", "D=d e"]);
});

test("stages: COPY --from by name and number, unneeded ones are skipped, --target stops early", async () => {
  const ran = logging();
  const dockerfile = [
    "FROM busybox AS one",
    "RUN first",
    "FROM busybox AS unneeded",
    "RUN never",
    "FROM busybox AS two",
    "RUN second",
    "FROM scratch",
    "COPY --from=one /log /one",
    "COPY --from=2 /log /two",
  ].join("\n");
  const result = await build(dockerfile);
  assert.equal(result.read("one"), "/bin/sh -c first\n");
  assert.equal(result.read("two"), "/bin/sh -c second\n");
  assert.deepEqual(ran.sort(), ["first", "second"]);
  assert.equal((await build(dockerfile, {}, { target: "one" })).exists("log"), true);
  await assert.rejects(build(dockerfile, {}, { target: "tow" }), /target stage "tow" could not be found/);
});

test("a changed stage that yields the same files leaves what copies them cached", async () => {
  worker.command = (_spec, directory) => (
    fs.writeFileSync(path.join(directory, "out"), "same"),
    fs.chmodSync(path.join(directory, "out"), 0o644),
    0
  );
  const dockerfile = (command: string) => `FROM busybox AS b\nRUN ${command}\nFROM scratch\nCOPY --from=b /out /out\n`;
  await build(dockerfile("one"));
  assert.deepEqual((await build(dockerfile("two"))).cached, ["COPY --from=b /out /out"]);
});

test("stages that don't need each other run side by side", async () => {
  let running = 0;
  let most = 0;
  worker.command = async () => {
    most = Math.max(most, ++running);
    await new Promise((resolve) => setImmediate(resolve));
    running--;
    return 0;
  };
  await build(
    "FROM busybox AS a\nRUN 1\nFROM busybox AS b\nRUN 2\nFROM scratch\nCOPY --from=a /etc /a\nCOPY --from=b /etc /b\n",
  );
  assert.equal(most, 2);
});

test("a failing RUN fails the build, stops the other stages, and keeps what came before in the cache", async () => {
  worker.command = async (spec, _root, signal) => {
    if (spec.args.at(-1) === "good") return 0;
    if (spec.args.at(-1) === "bad") return 3;
    return await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error)));
  };
  const dockerfile = "FROM busybox AS slow\nRUN slow\nFROM busybox\nRUN good\nRUN bad\nCOPY --from=slow / /\n";
  await assert.rejects(build(dockerfile), (error) => {
    assert.equal(codeOf(error), "failedPrecondition");
    assert.match(messageOf(error), /The command '\/bin\/sh -c bad' returned a non-zero code: 3/);
    return true;
  });
  worker.command = () => 0;
  assert.ok((await build("FROM busybox\nRUN good\n")).cached.includes("RUN good"));
});

test("cancellation ends the build with canceled", async () => {
  const controller = new AbortController();
  worker.command = async (_spec, _root, signal) => {
    controller.abort(new Error("client went away"));
    return await new Promise((_, reject) =>
      signal.aborted
        ? reject(signal.reason as Error)
        : signal.addEventListener("abort", () => reject(signal.reason as Error)),
    );
  };
  await assert.rejects(
    builder.build({ context: context({ Dockerfile: "FROM busybox\nRUN x\n" }) }, controller.signal),
    (error) => codeOf(error) === "canceled",
  );
});

test(".dockerignore and a Dockerfile's own ignore file hide files from COPY", async () => {
  const files = {
    "a.md": "a",
    "keep.md": "k",
    "node_modules/x": "x",
    "src/a.ts": "t",
    ".dockerignore": "**/*.md\n!keep.md\nnode_modules\nDockerfile*\n.dockerignore",
  };
  const result = await build("FROM scratch\nCOPY . /\n", files);
  assert.deepEqual(
    ["a.md", "keep.md", "node_modules", "src/a.ts", "Dockerfile"].map((name) => result.exists(name)),
    [false, true, false, true, false],
  );
  const own = await build(
    "FROM scratch\n",
    { ...files, "x.Dockerfile": "FROM scratch\nCOPY . /\n", "x.Dockerfile.dockerignore": "src" },
    { dockerfile: "x.Dockerfile" },
  );
  assert.deepEqual(
    ["a.md", "src"].map((name) => own.exists(name)),
    [true, false],
  );
});

test("COPY: wildcards, --chmod, --exclude, --parents, here-documents, renaming, links", async () => {
  const dockerfile = [
    "FROM busybox",
    "ARG who=world",
    "COPY *.txt /text/",
    "COPY --chmod=u=rwx,go= one.txt /bin/tool",
    "COPY --exclude=*.o src /src",
    "COPY --parents src/./deep/f.c src/a.o /p/",
    "COPY <<EOF <<'RAW' /docs/",
    "hello $who",
    "EOF",
    "keep $who",
    "RAW",
  ].join("\n");
  const result = await build(dockerfile, {
    "one.txt": "1",
    "two.txt": "2",
    "src/a.c": "c",
    "src/a.o": "o",
    "src/deep/f.c": "f",
  });
  assert.equal(result.read("text/two.txt"), "2");
  assert.equal(fs.statSync(path.join(worker.rootOf(worker.published.at(-1)!.chainId), "bin/tool")).mode & 0o777, 0o700);
  assert.deepEqual(
    ["src/a.c", "src/a.o", "src/deep/f.c"].map((name) => result.exists(name)),
    [true, false, true],
  );
  assert.deepEqual([result.read("p/deep/f.c"), result.read("p/src/a.o")], ["f", "o"]);
  assert.deepEqual([result.read("docs/EOF"), result.read("docs/RAW")], ["hello world\n", "keep $who\n"]);
});

test("a missing source is told with its place and the nearest name", async () => {
  await assert.rejects(build("FROM busybox\nCOPY requirments.txt /\n", { "requirements.txt": "" }), (error) => {
    assert.match(messageOf(error), /the build context has no \/requirments.txt: not found\nDockerfile:2:1\n/);
    assert.match(messageOf(error), /Did you mean requirements.txt\?/);
    return true;
  });
});

test("RUN here-documents, secrets, cache mounts, bind mounts", async () => {
  const seen: { args: string[]; secret?: string; cache?: string; bound?: string }[] = [];
  worker.command = (spec) => {
    const at = (target: string) => spec.mounts.find((mount) => mount.destination === target)?.source;
    const cache = at("/cache");
    if (cache) fs.appendFileSync(path.join(cache, "count"), "x");
    seen.push({
      args: [...spec.args],
      ...(at("/run/secrets/token") ? { secret: fs.readFileSync(at("/run/secrets/token")!, "utf8") } : {}),
      ...(cache ? { cache: fs.readFileSync(path.join(cache, "count"), "utf8") } : {}),
      ...(at("/src") ? { bound: fs.readFileSync(path.join(at("/src")!, "f"), "utf8") } : {}),
    });
    return 0;
  };
  const mounts =
    "--mount=type=secret,id=token --mount=type=cache,target=/cache --mount=type=bind,source=dir,target=/src";
  const dockerfile = `FROM busybox\nRUN <<EOF\nset -e\nmake\nEOF\nRUN ${mounts} go\n`;
  const request = { secrets: { token: Buffer.from("s3cret") } };
  await build(dockerfile, { "dir/f": "F" }, request);
  await build(dockerfile, { "dir/f": "F" }, { ...request, noCache: true });
  assert.deepEqual(seen[0]!.args, ["/bin/sh", "-c", "set -e\nmake\n"]);
  assert.deepEqual(seen[1], { args: ["/bin/sh", "-c", "go"], secret: "s3cret", cache: "x", bound: "F" });
  assert.equal(seen[3]!.cache, "xx", "a cache mount outlives a build");
  assert.deepEqual(fs.readdirSync(worker.volatileDir), [], "no secret is left on disk");
  await assert.rejects(
    build("FROM busybox\nRUN --mount=type=secret,id=nope,required=true x\n"),
    /secret nope: not found/,
  );
});

test("ONBUILD triggers run in the image that is built on top, and only there", async () => {
  const ran = logging();
  worker.addImage("parent", {}, { config: { OnBuild: ["COPY f /f", "RUN triggered"] } });
  const result = await build("FROM parent\nRUN own\n", { f: "F" });
  assert.equal(result.read("f"), "F");
  assert.deepEqual(ran, ["triggered", "own"]);
  assert.equal(result.config.config?.OnBuild, undefined);
});

test("with SOURCE_DATE_EPOCH the image says that time, whatever the clock says", async () => {
  logging();
  const one = await build(
    "FROM scratch\nCOPY f /\n",
    { f: "1" },
    { buildArgs: { SOURCE_DATE_EPOCH: "1700000000" }, noCache: true },
  );
  assert.equal(one.config.created, "2023-11-14T22:13:20.000000000Z");
  await assert.rejects(
    build("FROM scratch\n", {}, { buildArgs: { SOURCE_DATE_EPOCH: "soon" } }),
    /invalid SOURCE_DATE_EPOCH/,
  );
});

test("the inline cache of an image serves a builder that has none", async () => {
  const ran = logging();
  await build("FROM busybox\nRUN slow\n", {}, { buildArgs: { BUILDKIT_INLINE_CACHE: "1" } });
  const { config, chainId } = worker.published.at(-1)!;
  worker.images.set("cached", { id: "sha256:x", config, chainId });
  fs.rmSync(path.join(root, "build"), { recursive: true });
  builder = open();
  assert.deepEqual((await build("FROM busybox\nRUN slow\n", {}, { cacheFrom: ["cached"] })).cached, ["RUN slow"]);
  assert.deepEqual(ran, ["slow"]);
});

test("a cache left in a folder serves another builder, which fetches only what it uses", async () => {
  const ran = logging();
  const folder = path.join(root, "left");
  const dockerfile = "FROM busybox AS tools\nRUN tool\nFROM busybox\nCOPY --from=tools /etc/passwd /\nRUN slow\n";
  const forget = () => {
    fs.rmSync(path.join(root, "build"), { recursive: true });
    builder = open();
    ran.length = 0;
  };
  await build(dockerfile, {}, { cacheTo: [`type=local,dest=${folder},mode=max`] });
  forget();
  const again = await build(dockerfile, {}, { cacheFrom: [`type=local,src=${folder}`] });
  assert.deepEqual([ran, again.cached.length], [[], 3]);
  assert.ok(worker.fetched.length > 0);
  forget();
  const other = await build("FROM busybox\nRUN other\n", {}, { cacheFrom: [`type=local,src=${folder}`] });
  assert.deepEqual([ran, other.cached], [["other"], []]);

  fs.rmSync(folder, { recursive: true });
  await build(dockerfile, {}, { cacheTo: [`type=local,dest=${folder}`], noCache: true });
  forget();
  assert.equal((await build(dockerfile, {}, { cacheFrom: [`type=local,src=${folder}`] })).cached.length, 2);
  assert.deepEqual(ran, ["tool"], "mode=min leaves out the other stages");
});

test("a cache that isn't there, or is damaged, is a warning; an option that means nothing is an error", async () => {
  logging();
  const from = (...cacheFrom: string[]) => build("FROM busybox\nRUN one\n", {}, { cacheFrom });
  assert.match(
    (await from(`type=local,src=${root}/nowhere`)).warnings.join(),
    /nowhere could not be used: there is no cache yet/,
  );
  fs.writeFileSync(path.join(root, "index.json"), "{");
  assert.match((await from(`type=local,src=${root}`)).warnings.join(), /index of the cache in .* is broken/);
  await assert.rejects(from("type=gha"), /type=gha is not supported/);
  await assert.rejects(from("type=local"), /needs src=/);
  await assert.rejects(build("FROM busybox\n", {}, { cacheTo: ["type=local,dest=here"] }), /not an absolute path/);
  await assert.rejects(build("FROM busybox\n", {}, { cacheTo: ["type=registry,ref=a,mode=some"] }), /min or max/);
});

test("prune takes what is old or too much, never a cache mount unless asked, and the layer goes with it", async () => {
  logging();
  await build("FROM busybox\nRUN --mount=type=cache,target=/c one\nRUN two\n");
  const before = await builder.cache.list();
  assert.deepEqual(before.map((record) => record.type).sort(), ["exec.cachemount", "regular", "regular"]);
  assert.deepEqual((await builder.cache.prune({ olderThanMs: 1 })).deleted, []);
  assert.equal((await builder.cache.prune({})).deleted.length, 2);
  assert.equal(worker.kept.size, 0);
  assert.deepEqual((await builder.cache.prune({ all: true })).deleted.length, 1);
});

test("hostile archives are refused and leave nothing outside", async () => {
  const archive = async (entries: Partial<tar.Header>[]) => {
    const pack = tar.pack();
    pack.entry({ name: "Dockerfile" }, "FROM scratch\nCOPY . /\n");
    for (const header of entries) pack.entry(header as tar.Header, header.type === "file" ? "x" : "");
    pack.finalize();
    return await builder.build(
      { context: Readable.from(pack) as AsyncIterable<Uint8Array> },
      new AbortController().signal,
    );
  };
  await assert.rejects(archive([{ name: "../evil", type: "file", size: 1 }]), /path with "\.\."/);
  await assert.rejects(
    archive([
      { name: "l", type: "symlink", linkname: root },
      { name: "l/evil", type: "file", size: 1 },
    ]),
    /which is not a directory/,
  );
  await assert.rejects(archive([{ name: "h", type: "link", linkname: "/etc/passwd" }]), /not a file of this archive/);
  await assert.rejects(
    builder.build({ context: Readable.from([Buffer.from("hello")]) }, new AbortController().signal),
    /truncated/,
  );
  await assert.rejects(
    builder.build({ context: Readable.from([Buffer.alloc(2048, 1)]) }, new AbortController().signal),
    /not a tar archive/,
  );
});

test("links in a context lead nowhere outside of it", async () => {
  const pack = tar.pack();
  pack.entry({ name: "Dockerfile" }, "FROM scratch\nCOPY passwd /got\n");
  pack.entry({ name: "passwd", type: "symlink", linkname: "/etc/passwd" });
  pack.finalize();
  await assert.rejects(
    builder.build({ context: Readable.from(pack) as AsyncIterable<Uint8Array> }, new AbortController().signal),
    /not found/,
  );
});

test("the classic stream tells steps in order, with the lines that tools look for", async () => {
  worker.command = (spec) => (spec.onOutput("stdout", Buffer.from(`out ${spec.args.at(-1)}\n`)), 0);
  const messages: string[] = [];
  const progress = new ClassicProgress((message) => messages.push(String(message["stream"])));
  const result = await build(
    "FROM busybox AS a\nRUN one\nFROM busybox\nCOPY --from=a /etc /e\nRUN two\n",
    {},
    { onProgress: (event) => progress.on(event) },
  );
  const text = messages.join("").replace(/[0-9a-f]{12}/g, "ID");
  assert.equal(
    text,
    [
      "Step 1/5 : FROM busybox AS a",
      " ---> ID",
      "Step 2/5 : RUN one",
      " ---> Running in ID",
      "out one",
      " ---> Removed intermediate container ID",
      " ---> ID",
      "Step 3/5 : FROM busybox",
      " ---> ID",
      "Step 4/5 : COPY --from=a /etc /e",
      " ---> ID",
      "Step 5/5 : RUN two",
      " ---> Running in ID",
      "out two",
      " ---> Removed intermediate container ID",
      " ---> ID",
      "",
    ].join("\n"),
  );
  assert.ok(messages.join("").endsWith(` ---> ${result.imageId.slice(7, 19)}\n`), "the last step made the image");
});
