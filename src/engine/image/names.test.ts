import assert from "node:assert/strict";
import { test } from "node:test";
import { applyChanges } from "./changes.ts";
import { mmdebstrapArguments, parseOsRelease, recipeFor } from "./bootstrap/index.ts";
import {
  choosePlatform,
  foreignPlatformWarning,
  hostPlatform,
  parsePlatform,
  platformScore,
  platformText,
} from "./platform.ts";
import { humanSize, progressBar } from "./progress.ts";
import { partToPush } from "./transfer/push-image.ts";
import type { Image, ImagePart } from "./types.ts";
import { familiarName, parseReference, repositoryOf } from "./reference.ts";

const digest = `sha256:${"a".repeat(64)}`;

test("names are normalised as Docker does", () => {
  const table: [string, string, string][] = [
    ["busybox", "docker.io/library/busybox", "busybox:latest"],
    ["library/busybox", "docker.io/library/busybox", "busybox:latest"],
    ["index.docker.io/busybox:1", "docker.io/library/busybox", "busybox:1"],
    ["user/app:v1", "docker.io/user/app", "user/app:v1"],
    ["localhost/app", "localhost/app", "localhost/app:latest"],
    ["localhost:5000/a/b:c", "localhost:5000/a/b", "localhost:5000/a/b:c"],
    ["[::1]:5000/app", "[::1]:5000/app", "[::1]:5000/app:latest"],
    [`ghcr.io/a/b@${digest}`, "ghcr.io/a/b", `ghcr.io/a/b@${digest}`],
  ];
  for (const [text, repository, familiar] of table) {
    const reference = parseReference(text);
    assert.equal(repositoryOf(reference), repository);
    assert.equal(familiarName(reference), familiar);
  }
});

test("what is no name is refused", () => {
  for (const text of [
    "",
    "UPPER",
    "a/UPPER",
    "a//b",
    "a:",
    "a@sha256:1",
    "-a",
    "a..b",
    "../a",
    "a b",
    "a:b:c",
    "b".repeat(64).replace(/b/g, "0"),
    "x".repeat(300),
  ])
    assert.throws(() => parseReference(text), /invalid reference format/, text);
});

test("platforms", () => {
  assert.equal(platformText(parsePlatform("linux/aarch64")), "linux/arm64");
  assert.equal(platformText(parsePlatform("linux/arm/v7")), "linux/arm/v7");
  assert.equal(platformText(parsePlatform("arm64")), "linux/arm64");
  assert.deepEqual(hostPlatform("x64"), { os: "linux", architecture: "amd64" });
  for (const bad of ["", "a/b/c/d", "plan9", "linux/amd 64"])
    assert.throws(() => parsePlatform(bad), /platform|unknown/);
  const arm = { os: "linux", architecture: "arm" };
  assert.ok(platformScore({ ...arm, variant: "v7" }, { ...arm, variant: "v6" })! > 0);
  assert.equal(platformScore({ ...arm, variant: "v6" }, { ...arm, variant: "v7" }), undefined);
});

test("the best entry of an index is chosen, never an attestation", () => {
  const entry = (name: string, platform?: { os: string; architecture: string; variant?: string }) => ({
    mediaType: "m",
    digest: name,
    size: 1,
    platform,
  });
  const index = [
    entry("attestation", { os: "unknown", architecture: "unknown" }),
    entry("v6", { os: "linux", architecture: "arm", variant: "v6" }),
    entry("v7", { os: "linux", architecture: "arm", variant: "v7" }),
    entry("amd", { os: "linux", architecture: "amd64" }),
  ];
  assert.equal(choosePlatform(index, parsePlatform("linux/arm/v7"))?.digest, "v7");
  assert.equal(choosePlatform(index, parsePlatform("linux/amd64"))?.digest, "amd");
  assert.equal(choosePlatform(index, parsePlatform("linux/s390x")), undefined);
});

test("an image for another machine is warned of, one that runs here isn't", () => {
  const amd64 = { os: "linux", architecture: "amd64" };
  assert.equal(foreignPlatformWarning(amd64, amd64), undefined);
  assert.equal(
    foreignPlatformWarning({ os: "linux", architecture: "arm64" }, amd64),
    "The requested image's platform (linux/arm64) does not match the detected host platform (linux/amd64) and no specific platform was requested",
  );
});

test("an index goes out whole, as its only image here, or as this machine's; else somebody must choose", () => {
  const part = (architecture: string, here = true): ImagePart => ({
    descriptor: { mediaType: "", digest: architecture, size: 1 },
    kind: "image",
    platform: { os: "linux", architecture },
    image: here ? ({ platform: { os: "linux", architecture } } as Image) : undefined,
    contentBytes: 0,
    containerIds: [],
    attests: undefined,
  });
  const { architecture: own } = hostPlatform();
  assert.equal(partToPush([part("x"), part("y")]), undefined);
  assert.equal(partToPush([part("x"), part("y", false)])?.descriptor.digest, "x");
  assert.equal(partToPush([part("x"), part(own), part("z", false)])?.descriptor.digest, own);
  assert.throws(() => partToPush([part("x"), part("y"), part("z", false)]), /no specific platform requested/);
});

test("changes of commit and import", () => {
  const config = applyChanges({ Env: ["A=1"], WorkingDir: "/w" }, [
    "ENV A=2 B='x y'",
    "ENV OLD form",
    'CMD ["a", "b"]',
    "ENTRYPOINT run me",
    "EXPOSE 80 53/udp",
    'LABEL k="v w"',
    "WORKDIR sub",
    "VOLUME /data",
    "USER 1000",
  ]);
  assert.deepEqual(config.Env, ["A=2", "B=x y", "OLD=form"]);
  assert.deepEqual(config.Cmd, ["a", "b"]);
  assert.deepEqual(config.Entrypoint, ["/bin/sh", "-c", "run me"]);
  assert.deepEqual(Object.keys(config.ExposedPorts!), ["80/tcp", "53/udp"]);
  assert.deepEqual(config.Labels, { k: "v w" });
  assert.equal(config.WorkingDir, "/w/sub");
  assert.throws(() => applyChanges({}, ["RUN x"]), /not a valid change command/);
  assert.throws(() => applyChanges({}, ["EXPOSE 99999"]), /not a port/);
});

test("progress looks like Docker's", () => {
  assert.equal(humanSize(173_000_000), "173MB");
  assert.equal(humanSize(1_234_567), "1.235MB");
  assert.equal(progressBar(50, 100), `[${"=".repeat(25)}>${" ".repeat(24)}]      50B/100B`);
  assert.ok(progressBar(100, 100).startsWith(`[${"=".repeat(50)}>]`));
});

test("the stand-in for python is made by one mmdebstrap call", () => {
  assert.deepEqual(parseOsRelease('ID=debian\nVERSION_CODENAME=bookworm\nNAME="x"'), {
    id: "debian",
    suite: "bookworm",
  });
  const args = mmdebstrapArguments(recipeFor("python")!, { id: "debian", suite: "bookworm" }, "/t.tar");
  assert.ok(args.includes("--include=python3,python3-pip,python3-flask,ca-certificates"));
  assert.deepEqual(args.slice(-2), ["bookworm", "/t.tar"]);
  assert.equal(recipeFor("constructor"), undefined);
});
