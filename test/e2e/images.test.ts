/** Images with the real kernel, the real docker CLI, Debian's docker-registry and skopeo. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { digestOf } from "../../src/engine/content/index.ts";
import {
  openImageEngine,
  program,
  startDebianRegistry,
  temporaryDirectory,
  type ImageEngine,
} from "../support/image-engine.ts";

let directory: string;
let engine: ImageEngine;
let debian: Awaited<ReturnType<typeof startDebianRegistry>>;

before(async () => {
  directory = temporaryDirectory();
  debian = await startDebianRegistry(directory);
  engine = await openImageEngine(directory);
  await engine.images.bootstrap("busybox");
});

after(async () => {
  await engine?.stop();
  await debian?.stop();
  fs.rmSync(directory, { recursive: true, force: true });
});

async function docker(...args: string[]): Promise<string> {
  const result = await engine.docker(...args);
  assert.equal(result.code, 0, `docker ${args.join(" ")}: ${result.stderr}`);
  return result.stdout.trim();
}

test("the bootstrapped busybox is listed, inspected and has a history", async () => {
  assert.match(await docker("images", "--format", "{{.Repository}}:{{.Tag}}"), /^busybox:latest$/m);
  const inspected = JSON.parse(await docker("image", "inspect", "busybox"))[0];
  assert.deepEqual(inspected.RepoTags, ["busybox:latest"]);
  assert.deepEqual(inspected.Config.Cmd, ["sh"]);
  assert.equal(inspected.Os, "linux");
  assert.match(await docker("history", "busybox"), /Made by berth/);
});

test("a snapshot of it runs, tells its changes, and becomes an image by commit", async () => {
  const { snapshots, images } = engine;
  const image = await images.resolve("busybox");
  const target = path.join(directory, "root");
  await snapshots.prepare("c1", image.chainId);
  await snapshots.mount("c1", target);
  const script =
    "echo new > /new && rm /etc/shadow && rm -r /home && mkdir /home && touch /home/x && ln -s /etc/passwd /link && mkfifo /pipe";
  execFileSync("chroot", [target, "/bin/sh", "-c", script]);
  const changes = (await snapshots.changes("c1")).map(({ kind, path: changed }) => `${kind} ${changed}`);
  assert.ok(changes.includes("added /new"));
  assert.ok(changes.includes("deleted /etc/shadow"));
  assert.ok(changes.includes("modified /etc"));
  const made = await images.commit({
    snapshotKey: "c1",
    parent: image.id,
    config: { Cmd: ["cat", "/new"] },
    tag: "made:1",
  });
  assert.equal(made.layers.length, 2);
  await snapshots.remove("c1");
  await snapshots.mountLayer(made.chainId!, target);
  assert.equal(fs.readFileSync(path.join(target, "new"), "utf8"), "new\n");
  assert.equal(fs.existsSync(path.join(target, "etc/shadow")), false);
  assert.deepEqual(fs.readdirSync(path.join(target, "home")), ["x"]);
  assert.equal(fs.readlinkSync(path.join(target, "link")), "/etc/passwd");
  assert.ok(fs.lstatSync(path.join(target, "pipe")).isFIFO());
  await snapshots.unmount(target);
});

test("a stack of 130 layers is made and mounted; a volatile mount can be mounted again", async () => {
  const { snapshots, content } = engine;
  const target = path.join(directory, "tall");
  await using _lease = content.lease();
  let parent: string | undefined;
  for (let index = 0; index < 130; index++) {
    const { upperPath } = await snapshots.prepare("tall", parent);
    fs.writeFileSync(path.join(upperPath, `file-${index}`), String(index));
    parent = (await snapshots.commit("tall")).chainId;
  }
  await snapshots.prepare("tall", parent);
  for (let turn = 0; turn < 2; turn++) {
    await snapshots.mount("tall", target, { volatile: true });
    assert.equal(fs.readdirSync(target).length, 130 + turn);
    fs.writeFileSync(path.join(target, "mine"), "kept");
    await snapshots.unmount(target);
  }
  await snapshots.remove("tall");
  await engine.images.collectGarbage();
  assert.ok(snapshots.layer(parent!), "the lease holds what nothing names");
});

test("save, remove and load give the same image; skopeo reads the archive in both forms", async () => {
  const { id } = await engine.images.resolve("made:1");
  const archive = path.join(directory, "made.tar");
  await docker("save", "-o", archive, "made:1");
  for (const form of [`docker-archive:${archive}`, `oci-archive:${archive}:1`]) {
    const seen = await program("skopeo", ["inspect", form]);
    assert.equal(seen.code, 0, seen.stderr);
  }
  assert.match(await docker("rmi", "made:1"), /Deleted: sha256:/);
  assert.equal((await engine.docker("image", "inspect", "made:1")).code, 1);
  assert.match(await docker("load", "-i", archive), /Loaded image: made:1/);
  assert.equal((await engine.images.resolve("made:1")).id, id);
});

test("push to and pull from Debian's registry keep the image's identity", async () => {
  const name = `${debian.address}/team/made:1`;
  const { id } = await engine.images.resolve("made:1");
  await docker("tag", "made:1", name);
  assert.match(await docker("push", name), /1: digest: sha256:[0-9a-f]{64} size: \d+/);
  assert.match(await docker("push", name), /Layer already exists/);
  await docker("rmi", name, "made:1");
  assert.match(await docker("pull", name), /Status: Downloaded newer image for/);
  assert.match(await docker("pull", name), /Status: Image is up to date for/);
  assert.equal((await engine.images.resolve(name)).id, id);
  await docker("tag", name, "made:1");
  const distribution = await engine.images.inspectRemote(name);
  assert.deepEqual(distribution.platforms[0]?.os, "linux");
});

test("concurrent pulls of one image into an empty store share the work", async () => {
  const other = temporaryDirectory();
  const second = await openImageEngine(other);
  try {
    const name = `${debian.address}/team/made:1`;
    const pulled = await Promise.all([1, 2, 3].map(() => second.images.pull(name)));
    assert.equal(new Set(pulled.map((image) => image.id)).size, 1);
    assert.equal(second.snapshots.layers().length, 2);
  } finally {
    await second.stop();
    fs.rmSync(other, { recursive: true, force: true });
  }
});

test("a mirror serves what Docker Hub would, so that FROM needs no internet", async () => {
  const other = temporaryDirectory();
  await docker("tag", "busybox", `${debian.address}/library/busybox:mirrored`);
  await docker("push", `${debian.address}/library/busybox:mirrored`);
  const second = await openImageEngine(other, { mirrors: { "docker.io": [`http://${debian.address}`] } }, true);
  try {
    const image = await second.images.ensure("busybox:mirrored");
    assert.deepEqual(image.repoTags, ["busybox:mirrored"]);
    await second.images.remove("busybox:mirrored");
    // Through the second one's registry as well: skopeo and docker get it, and it stays there.
    const through = `${second.registry}/library/busybox:mirrored`;
    const copied = await program("skopeo", [
      "copy",
      "--src-tls-verify=false",
      `docker://${through}`,
      `dir:${path.join(other, "copied")}`,
    ]);
    assert.equal(copied.code, 0, copied.stderr);
    assert.deepEqual((await second.images.resolve("busybox:mirrored")).id, image.id);
    await docker("pull", "-q", through);
    assert.equal((await engine.images.resolve(through)).id, image.id);
    await docker("rmi", through);
  } finally {
    await second.stop();
    fs.rmSync(other, { recursive: true, force: true });
  }
});

test("skopeo copies to and from berth's own registry, also what was never pushed there", async () => {
  const layout = path.join(directory, "layout");
  const plain = ["--src-tls-verify=false", "--dest-tls-verify=false"];
  const from = await program("skopeo", ["copy", ...plain, `docker://${engine.registry}/made:1`, `dir:${layout}`]);
  assert.equal(from.code, 0, from.stderr);
  const to = await program("skopeo", ["copy", ...plain, `dir:${layout}`, `docker://${engine.registry}/copied/made:2`]);
  assert.equal(to.code, 0, to.stderr);
  const tags = await program("skopeo", ["list-tags", "--tls-verify=false", `docker://${engine.registry}/copied/made`]);
  assert.deepEqual(JSON.parse(tags.stdout).Tags, ["2"]);
  const pulled = await engine.images.pull(`${engine.registry}/copied/made:2`);
  assert.equal(pulled.id, (await engine.images.resolve("made:1")).id);
});

test("skopeo carries an index of two platforms through both registries and an archive, byte for byte", async () => {
  const raw = async (from: string) => {
    const seen = await program("skopeo", ["inspect", "--raw", "--tls-verify=false", from]);
    assert.equal(seen.code, 0, seen.stderr);
    return seen.stdout;
  };
  const copy = async (from: string, to: string) => {
    const plain = ["--src-tls-verify=false", "--dest-tls-verify=false"];
    const copied = await program("skopeo", ["copy", "--all", ...plain, from, to]);
    assert.equal(copied.code, 0, copied.stderr);
  };
  const theirs = `docker://${debian.address}/two`;
  const ours = `docker://${engine.registry}/two`;
  const manifests = [];
  for (const [architecture, name] of [
    ["amd64", "busybox"],
    ["arm64", "made:1"],
  ] as const) {
    await docker("tag", name, `${debian.address}/two:${architecture}`);
    await docker("push", "-q", `${debian.address}/two:${architecture}`);
    const bytes = Buffer.from(await raw(`${theirs}:${architecture}`));
    const { mediaType } = JSON.parse(bytes.toString()) as { mediaType: string };
    const platform = { os: "linux", architecture };
    manifests.push({ mediaType, digest: digestOf(bytes), size: bytes.length, platform });
  }
  const mediaType = "application/vnd.docker.distribution.manifest.list.v2+json";
  const index = JSON.stringify({ schemaVersion: 2, mediaType, manifests });
  const put = { method: "PUT", headers: { "content-type": mediaType }, body: index };
  assert.equal((await fetch(`http://${debian.address}/v2/two/manifests/1`, put)).status, 201);

  const archive = `oci-archive:${path.join(directory, "two.tar")}:1`;
  await copy(`${theirs}:1`, `${ours}:1`);
  assert.equal(await raw(`${ours}:1`), index);
  await copy(`${ours}:1`, `${theirs}:2`);
  assert.equal(await raw(`${theirs}:2`), index);
  await copy(`${ours}:1`, archive);
  await copy(archive, `${ours}:3`);
  const platforms = (text: string) =>
    (JSON.parse(text) as { manifests: { platform: object }[] }).manifests.map(({ platform }) => platform);
  assert.deepEqual(platforms(await raw(`${ours}:3`)), platforms(index));
  for (const tag of ["1", "3"]) {
    const pulled = await engine.images.pull(`${engine.registry}/two:${tag}`, {
      platform: { os: "linux", architecture: "amd64" },
    });
    assert.deepEqual(pulled.config.rootfs, (await engine.images.resolve("busybox")).config.rootfs);
  }
});

test("one name keeps several platforms: listed, chosen, saved, loaded, pushed and removed each or all", async () => {
  const repository = `${debian.address}/multi`;
  const tar = path.join(directory, "multi.tar");
  const manifests = [];
  for (const architecture of ["amd64", "arm64"]) {
    fs.writeFileSync(path.join(directory, "machine"), `${architecture}\n`);
    execFileSync("tar", ["-cf", tar, "-C", directory, "machine"]);
    await docker("import", "--platform", `linux/${architecture}`, tar, `${repository}:${architecture}`);
    await docker("push", "-q", `${repository}:${architecture}`);
    await docker("rmi", `${repository}:${architecture}`);
    const answer = await fetch(`http://${debian.address}/v2/multi/manifests/${architecture}`, {
      headers: { accept: "application/vnd.docker.distribution.manifest.v2+json" },
    });
    const bytes = Buffer.from(await answer.arrayBuffer());
    const mediaType = answer.headers.get("content-type")!;
    manifests.push({ mediaType, digest: digestOf(bytes), size: bytes.length, platform: { os: "linux", architecture } });
  }
  const mediaType = "application/vnd.oci.image.index.v1+json";
  const index = JSON.stringify({ schemaVersion: 2, mediaType, manifests });
  const put = { method: "PUT", headers: { "content-type": mediaType }, body: index };
  assert.equal((await fetch(`http://${debian.address}/v2/multi/manifests/1`, put)).status, 201);
  const name = `${repository}:1`;
  const raw = async (from: string) =>
    (await program("skopeo", ["inspect", "--raw", "--tls-verify=false", `docker://${from}`])).stdout;
  const own = process.arch === "arm64" ? "arm64" : "amd64";
  const foreign = own === "arm64" ? "amd64" : "arm64";
  const architectureOf = (...flags: string[]) =>
    docker("image", "inspect", ...flags, "--format", "{{.Architecture}}", name);

  await docker("pull", "-q", "--platform", `linux/${foreign}`, name);
  assert.equal(await architectureOf(), foreign);
  const early = await engine.docker("image", "inspect", "--platform", `linux/${own}`, name);
  assert.match(early.stderr, /was found but its platform \(linux\/\w+\) does not match the specified platform/);
  const partial = await docker("push", name.replace("multi:1", "partial:1"), "-q").catch(() => "");
  assert.equal(partial, "");
  await docker("tag", name, `${debian.address}/partial:1`);
  assert.match(
    await docker("push", `${debian.address}/partial:1`),
    /only the available single-platform image was pushed/,
  );

  await docker("pull", "-q", name);
  assert.equal(await architectureOf(), own, "the machine's own platform comes first");
  assert.equal(await architectureOf("--platform", `linux/${foreign}`), foreign);
  await assert.rejects(engine.images.ensure(name, { platform: { os: "linux", architecture: "s390x" } }), {
    code: "notFound",
    message: /does not provide the specified platform \(linux\/s390x\), and pulling it failed: no matching manifest/,
  });
  const absent = await engine.docker("image", "inspect", "--platform", "linux/s390x", name);
  assert.match(absent.stderr, /was found but does not provide the specified platform \(linux\/s390x\)/);
  assert.match(await docker("history", "--platform", `linux/${foreign}`, name), /Imported from/);
  const [seen] = JSON.parse(await docker("image", "inspect", name)) as [{ RepoDigests: string[] }];
  assert.deepEqual(seen.RepoDigests, [`${repository}@${digestOf(Buffer.from(index))}`]);
  assert.equal((await docker("images", "-q", repository)).split("\n").length, 1);
  const tree = await docker("images", "--tree", name);
  for (const architecture of ["amd64", "arm64"]) assert.match(tree, new RegExp(`linux/${architecture}\\s+\\w{12}`));
  const parts = await engine.images.partsOf(name);
  assert.deepEqual(
    parts.map((part) => [part.kind, part.descriptor.digest, part.image !== undefined, part.contentBytes > 0]),
    manifests.map(({ digest }) => ["image", digest, true, true]),
  );

  await docker("tag", name, `${debian.address}/pushed:1`);
  await docker("push", "-q", `${debian.address}/pushed:1`);
  assert.equal(await raw(`${debian.address}/pushed:1`), index, "both platforms are here, so the index is pushed");
  await docker("push", "-q", "--platform", `linux/${foreign}`, `${debian.address}/pushed:1`);
  assert.equal(
    digestOf(Buffer.from(await raw(`${debian.address}/pushed:1`))),
    parts.find((part) => part.platform?.architecture === foreign)!.descriptor.digest,
  );

  const archive = path.join(directory, "multi-saved.tar");
  await docker("save", "-o", archive, name);
  assert.equal((await program("skopeo", ["inspect", "--raw", `oci-archive:${archive}:1`])).stdout, index);
  const one = path.join(directory, "multi-one.tar");
  await docker("save", "--platform", `linux/${foreign}`, "-o", one, name);
  await docker("rmi", `${debian.address}/partial:1`, `${debian.address}/pushed:1`);
  await engine.images.remove(name, { platforms: [{ os: "linux", architecture: own }] });
  assert.equal(await architectureOf(), foreign);
  const removed = await docker("rmi", name);
  assert.match(removed, /Untagged: .*multi:1\n/);
  assert.equal((removed.match(/Deleted: sha256/g) ?? []).length >= 1, true);
  for (const { digest } of manifests) assert.equal(engine.content.has(digest), false, "nothing of it is left");

  await docker("load", "-i", one);
  assert.equal(await architectureOf(), foreign);
  await docker("rmi", name);
  assert.match(
    (await engine.docker("load", "--platform", "linux/s390x", "-i", archive)).stderr,
    /linux\/s390x\) not found/,
  );
  await docker("load", "-i", archive);
  assert.equal(await architectureOf(), own);
  assert.equal(await architectureOf("--platform", `linux/${foreign}`), foreign);
  await docker("rmi", name);
  await docker("load", "--platform", `linux/${foreign}`, "-i", archive);
  assert.equal(await architectureOf(), foreign);
  await docker("rmi", name);
  assert.equal(
    (await engine.images.list()).some((image) => image.platform.architecture === foreign),
    false,
  );
});

test("berth's registry takes chunked uploads, verifies digests and knows referrers", async () => {
  const base = `http://${engine.registry}/v2/chunked`;
  const begun = await fetch(`${base}/blobs/uploads/`, { method: "POST" });
  const place = `http://${engine.registry}${begun.headers.get("location")}`;
  const first = await fetch(place, { method: "PATCH", body: "hello ", headers: { "content-range": "0-5" } });
  assert.equal(first.status, 202);
  const wrong = await fetch(place, { method: "PATCH", body: "x", headers: { "content-range": "0-0" } });
  assert.equal(wrong.status, 416);
  const bad = await fetch(`${place}?digest=sha256:${"0".repeat(64)}`, { method: "PUT", body: "world" });
  assert.equal(bad.status, 400);
  const empty = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
  const pushed = await fetch(`${base}/blobs/uploads/?digest=${empty}`, { method: "POST", body: "{}" });
  assert.equal(pushed.status, 201);
  const part = { mediaType: "application/vnd.oci.empty.v1+json", digest: empty, size: 2 };
  const manifest = {
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    config: part,
    layers: [part],
  };
  const put = (body: object, ref: string) =>
    fetch(`${base}/manifests/${ref}`, {
      method: "PUT",
      body: JSON.stringify(body),
      headers: { "content-type": manifest.mediaType },
    });
  const subject = (await put(manifest, "v1")).headers.get("docker-content-digest")!;
  const about = {
    ...manifest,
    artifactType: "text/x-note",
    subject: { ...part, mediaType: manifest.mediaType, digest: subject },
  };
  const answer = await put(about, "note");
  assert.equal(answer.headers.get("oci-subject"), subject);
  const referrers = (await (await fetch(`${base}/referrers/${subject}?artifactType=text/x-note`)).json()) as {
    manifests: unknown[];
  };
  assert.equal(referrers.manifests.length, 1);
});

test("import takes a tar from standard input, with changes", async () => {
  const tree = path.join(directory, "tree");
  fs.mkdirSync(tree);
  fs.writeFileSync(path.join(tree, "file"), "x");
  const archive = path.join(directory, "tree.tgz");
  execFileSync("tar", ["-C", tree, "-czf", archive, "."]);
  await docker("import", "--change", 'CMD ["/file"]', "--change", "ENV A=b", archive, "imported:1");
  const inspected = JSON.parse(await docker("image", "inspect", "imported:1"))[0];
  assert.deepEqual(inspected.Config.Cmd, ["/file"]);
  assert.deepEqual(inspected.Config.Env, ["A=b"]);
});

test("pull -a brings all tags of a repository", async () => {
  for (const tag of ["a", "b"]) {
    await docker("tag", "busybox", `${debian.address}/many:${tag}`);
    await docker("push", `${debian.address}/many:${tag}`);
    await docker("rmi", `${debian.address}/many:${tag}`);
  }
  await docker("pull", "-q", "-a", `${debian.address}/many`);
  const names = ["a", "b"].map((tag) => `${debian.address}/many:${tag}`);
  const { repoTags } = await engine.images.resolve("busybox");
  assert.deepEqual(
    names.filter((name) => repoTags.includes(name)),
    names,
  );
});

test("archives packed with bzip2 and xz are loaded and imported; a damaged one is refused", async () => {
  const plain = path.join(directory, "packed.tar");
  await docker("save", "-o", plain, "busybox");
  for (const program of ["bzip2", "xz"]) {
    fs.writeFileSync(`${plain}.${program}`, execFileSync(program, ["-c", plain], { maxBuffer: 64 << 20 }));
    assert.match(await docker("load", "-i", `${plain}.${program}`), /Loaded image: busybox:latest/);
    const tree = execFileSync("sh", ["-c", `tar -C /etc -cf - hostname | ${program} -c`]);
    fs.writeFileSync(path.join(directory, "rootfs"), tree);
    await docker("import", path.join(directory, "rootfs"), `packed:${program}`);
    assert.equal((await engine.images.resolve(`packed:${program}`)).layers.length, 1);
    fs.writeFileSync(path.join(directory, "rootfs"), tree.subarray(0, tree.length - 20));
    const damaged = await engine.docker("import", path.join(directory, "rootfs"));
    assert.match(damaged.stderr, new RegExp(`the ${program} archive is damaged`));
  }
});

test("errors are Docker's: unknown images, bad names, wrong archives, unreachable registries", async () => {
  assert.match((await engine.docker("image", "inspect", "nope")).stderr, /No such image: nope:latest/i);
  assert.match((await engine.docker("tag", "busybox", "a/UPPER")).stderr, /lowercase|invalid reference/i);
  const bad = path.join(directory, "bad.tar");
  fs.writeFileSync(bad, "this is no archive at all".repeat(100));
  // Every time: the reason must not be lost with a connection that is closed too early.
  for (let times = 0; times < 20; times++)
    assert.match((await engine.docker("load", "-i", bad)).stderr, /not a tar archive/);
  assert.match((await engine.docker("pull", "127.0.0.1:1/x")).stderr, /connection refused/);
  assert.match((await engine.docker("pull", `${debian.address}/none:1`)).stderr, /not found/);
});

test("removal frees layers and blobs, and a restart finds everything and no leftovers", async () => {
  const damaged = (await engine.images.resolve("imported:1")).id;
  await engine.stop();
  fs.mkdirSync(path.join(engine.context.dataDir, "snapshots/l/zz"), { recursive: true });
  fs.writeFileSync(path.join(engine.context.dataDir, "content/blobs/sha256/x.tmp"), "left by a crash");
  fs.rmSync(engine.content.path(damaged));
  engine = await openImageEngine(directory);
  assert.equal(fs.existsSync(path.join(engine.context.dataDir, "snapshots/l/zz")), false);
  assert.equal(fs.existsSync(path.join(engine.context.dataDir, "content/blobs/sha256/x.tmp")), false);
  assert.equal((await engine.images.resolve("made:1")).layers.length, 2);
  assert.equal(await engine.images.find("imported:1"), undefined, "an image whose configuration is gone is dropped");
  const names = (await docker("images", "--format", "{{.Repository}}:{{.Tag}}"))
    .split("\n")
    .filter((name) => !name.includes("<none>"));
  await docker("rmi", "-f", ...names);
  await docker("image", "prune", "-af");
  assert.deepEqual(engine.snapshots.layers(), []);
});
