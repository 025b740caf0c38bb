/** The pure parts of Docker's container semantics, by tables. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { humanDuration } from "../../../base/index.ts";
import { effectiveCapabilities } from "../spec/capabilities.ts";
import { lookUpUser } from "../spec/user.ts";
import type { DockerHostConfig } from "../../../api/index.ts";
import { withoutMountPoints } from "./changes.ts";
import { checkHostConfig } from "./checks.ts";
import { completeHostConfig, mergeConfig } from "./create.ts";
import { DetachFilter, parseDetachKeys } from "./detach.ts";
import { plannedEndpoints } from "./endpoints.ts";
import { healthCommand, nextHealth } from "./health.ts";
import { checkLogOptions } from "./log-files.ts";
import { dockerTime, parseLogLine } from "./logs.ts";
import { parseBind, planMounts } from "./mounts.ts";
import { portBindings } from "./ports.ts";
import { checkResources, discardUnsupported, ociResources, parseSet } from "./resources.ts";
import { parseSignal } from "./signals.ts";
import { mergeEnv, securityOptions } from "./spec.ts";

test("entrypoint and command merge as Docker merges them", () => {
  const image = { Entrypoint: ["/entry"], Cmd: ["a"], Env: ["A=1", "B=2"], User: "app" };
  const merged = (body: object) => {
    const { Entrypoint, Cmd } = mergeConfig(body, image);
    return [Entrypoint, Cmd];
  };
  assert.deepEqual(merged({}), [["/entry"], ["a"]]);
  assert.deepEqual(merged({ Cmd: ["b"] }), [["/entry"], ["b"]]);
  assert.deepEqual(merged({ Entrypoint: ["/own"] }), [["/own"], null]);
  assert.deepEqual(merged({ Entrypoint: [""], Cmd: ["sh"] }), [null, ["sh"]]);
  assert.deepEqual(mergeConfig({ Env: ["B=3"] }, image).Env, ["A=1", "B=3"]);
  assert.equal(mergeConfig({}, image).User, "app");
});

test("environment: later wins, a bare name removes", () => {
  assert.deepEqual(mergeEnv(["A=1", "B=2", "A=3", "B"], ["A=4", "C=5"]), ["A=3", "C=5"]);
});

test("binds", () => {
  assert.deepEqual(
    [parseBind("/a:/b:ro").Type, parseBind("/a:/b:ro").RW, parseBind("/a:/b").Propagation],
    ["bind", false, "rprivate"],
  );
  assert.deepEqual([parseBind("name:/b").Type, parseBind("name:/b").Name], ["volume", "name"]);
  assert.equal(parseBind("/only").anonymous, true);
  assert.throws(() => parseBind("/a:/b:wat"), /invalid mode: wat/);
  assert.throws(() => parseBind("/a:b"), /mount path must be absolute/);
  assert.throws(() => parseBind("./x:/b"), /includes invalid characters for a local volume name/);
  assert.throws(() => parseBind("/a:/"), /destination can't be '\/'/);
});

test("mounts: parents come before what lies in them; the same target twice is refused", () => {
  const plan = planMounts({ Volumes: { "/x/y": {} } }, { Binds: ["/a:/x/y/z", "/b:/x"] });
  assert.deepEqual(
    plan.map((mount) => mount.Destination),
    ["/x", "/x/y", "/x/y/z"],
  );
  assert.throws(() => planMounts({}, { Binds: ["/a:/x", "/b:/x"] }), /Duplicate mount point: \/x/);
});

test("ports: ranges, addresses, publish all", () => {
  const host = {
    PortBindings: { "80/tcp": [{ HostIp: "127.0.0.1", HostPort: "8000-8010" }], "53/udp": null },
    PublishAllPorts: true,
  };
  const bindings = portBindings({ ExposedPorts: { "80/tcp": {}, "9": {} } }, host);
  assert.deepEqual(
    bindings.map((port) => [
      port.containerPort,
      port.protocol,
      port.hostAddress,
      port.hostPortFirst,
      port.hostPortLast,
    ]),
    [
      [80, "tcp", "127.0.0.1", 8000, 8010],
      [53, "udp", undefined, 0, 0],
      [9, "tcp", undefined, 0, 0],
    ],
  );
  assert.throws(() => portBindings({}, { PortBindings: { "0/tcp": [] } }), /invalid port specification/);
});

test("resources: Docker's words for what cannot be, and the OCI form", () => {
  assert.throws(() => checkResources({ Memory: 1000 }), /Minimum memory limit allowed is 6MB/);
  assert.throws(() => checkResources({ MemorySwap: 1e8 }), /You should always set the Memory limit/);
  assert.throws(() => checkResources({ NanoCpus: 1e15 }), /range of CPUs is from 0\.01/);
  const resources = ociResources({ NanoCpus: 5e8, MemorySwappiness: -1, PidsLimit: 7 });
  assert.deepEqual(
    [resources.cpu?.quota, resources.cpu?.period, resources.memory?.swappiness],
    [50_000, 100_000, undefined],
  );
  assert.deepEqual(resources.pids, { limit: 7 });
});

test("capabilities", () => {
  assert.equal(effectiveCapabilities(null, null).length, 14);
  assert.deepEqual(effectiveCapabilities(["net_admin"], ["ALL"]), ["CAP_NET_ADMIN"]);
  assert.ok(!effectiveCapabilities(["ALL"], ["SYS_ADMIN"]).includes("CAP_SYS_ADMIN"));
  assert.throws(() => effectiveCapabilities(["NOPE"], null), /unknown capability: "CAP_NOPE"/);
});

test("users: by name, number, with group, and the unknown", () => {
  const passwd = [["app", "x", "1000", "1001", "", "/home/app", "/bin/sh"]];
  const group = [
    ["app", "x", "1001", ""],
    ["extra", "x", "7", "other,app"],
  ];
  assert.deepEqual(lookUpUser(passwd, group, "app"), {
    uid: 1000,
    gid: 1001,
    additionalGids: [7, 1001],
    home: "/home/app",
  });
  assert.deepEqual(lookUpUser(passwd, group, "app:extra").gid, 7);
  assert.deepEqual(lookUpUser(passwd, group, "55").uid, 55);
  assert.throws(
    () => lookUpUser(passwd, group, "nobody"),
    /unable to find user nobody: no matching entries in passwd file/,
  );
});

test("signals", () => {
  assert.deepEqual(["KILL", "sigterm", "9", "RTMIN+1"].map(parseSignal), [9, 15, 9, 35]);
  assert.throws(() => parseSignal("WHAT"), /invalid signal: WHAT/);
});

test("detach keys are held back until they are broken or complete", () => {
  const filter = new DetachFilter(parseDetachKeys("ctrl-p,ctrl-q"));
  assert.deepEqual(filter.push(Buffer.from("a\x10")), { data: Buffer.from("a"), detached: false });
  assert.deepEqual(filter.push(Buffer.from("b")), { data: Buffer.from("\x10b"), detached: false });
  assert.equal(filter.push(Buffer.from("\x10\x11")).detached, true);
  assert.throws(() => parseDetachKeys("ctrl-!"), /Unknown character/);
});

test("what no kernel or daemon takes is refused before anything is made, in Docker's words", () => {
  const refused: [DockerHostConfig, RegExp][] = [
    [{ CpusetCpus: "8191" }, /Requested CPUs are not available - requested 8191, available: 0/],
    [{ CpusetCpus: "0-" }, /Invalid value 0- for cpuset cpus: invalid format: 0-/],
    [{ CpusetMems: "8191" }, /Requested memory nodes are not available/],
    [{ IpcMode: "foo" }, /invalid IPC mode: foo/],
    [{ Isolation: "hyperv" }, /invalid isolation: "hyperv" - linux only supports 'default'/],
    [{ OomScoreAdj: 1001 }, /range for oom score adj is \[-1000, 1000\]/],
    [{ SecurityOpt: ["no-new-privileges=x"] }, /invalid --security-opt/],
    [{ RestartPolicy: { Name: "foo" } }, /unknown policy 'foo'/],
  ];
  for (const [host, message] of refused) assert.throws(() => checkHostConfig({}, host, []), message);
  checkHostConfig({}, { CpusetCpus: "0", IpcMode: "shareable", Isolation: "default", OomScoreAdj: -1000 }, []);
  const health = (Healthcheck: object) => () => checkHostConfig({ Healthcheck }, {}, []);
  assert.throws(health({ Interval: 1000 }), /Interval in Healthcheck cannot be less than 1ms/);
  assert.throws(health({ Retries: -1 }), /Retries in Healthcheck cannot be negative/);
  assert.deepEqual([...parseSet("0-2,7")!], [0, 1, 2, 7]);
  assert.equal(parseSet("2-1"), undefined);
  const tmpfs = (options: string) => planMounts({}, { Tmpfs: { "/x": options } })[0]!.options;
  assert.deepEqual(tmpfs("size=1m,noexec,mode=700"), ["size=1m", "noexec", "mode=700"]);
  assert.throws(() => tmpfs("size=1m,foo"), /invalid tmpfs option \["foo"\]/);
});

test("log options are read and refused as dockerd's json-file and local do", () => {
  const limits = (Type: string, Config: Record<string, string>) => checkLogOptions({ Type, Config });
  assert.deepEqual(limits("json-file", {}), { maxBytes: undefined, files: 1 });
  assert.deepEqual(limits("json-file", { "max-size": "10k", "max-file": "3" }), { maxBytes: 10_000, files: 3 });
  assert.deepEqual(limits("local", { "max-size": "10k" }), { maxBytes: 10_240, files: 5 });
  assert.deepEqual(limits("local", {}), { maxBytes: 20 << 20, files: 5 });
  assert.equal(limits("json-file", { "max-size": "1.5MB" }).maxBytes, 1_500_000);
  const refused: [Record<string, string>, RegExp][] = [
    [{ "max-size": "abc" }, /failed to initialize logging driver: invalid size: 'abc'/],
    [{ "max-size": "0" }, /max-size must be a positive number/],
    [{ "max-file": "0" }, /max-file cannot be less than 1/],
    [{ "max-file": "x" }, /parsing "x": invalid syntax/],
    [{ compress: "true", "max-file": "2" }, /compress cannot be true/],
  ];
  for (const [config, message] of refused) assert.throws(() => limits("json-file", config), message);
});

test("log lines and their time", () => {
  const whole = parseLogLine(Buffer.from("2026-01-02T03:04:05.000000001+00:00 stderr F text with spaces"))!;
  assert.deepEqual([whole.stream, whole.text.toString()], ["stderr", "text with spaces\n"]);
  assert.equal(parseLogLine(Buffer.from("2026-01-02T03:04:05Z stdout P part"))!.text.toString(), "part");
  assert.equal(parseLogLine(Buffer.from("garbage")), undefined);
  assert.equal(dockerTime("2026-01-02T03:04:05.5+02:00"), "2026-01-02T01:04:05.500000000Z");
});

test("health: the start period forgives, failures in a row count, one success heals", () => {
  const failed = { startMs: 0, endMs: 1, exitCode: 1, output: "" };
  const config = { Retries: 2 };
  let state = nextHealth({ status: "starting", failingStreak: 0, log: [] }, failed, config, true);
  assert.deepEqual([state.status, state.failingStreak], ["starting", 0]);
  state = nextHealth(state, failed, config, false);
  assert.equal(state.status, "starting");
  state = nextHealth(state, failed, config, false);
  assert.equal(state.status, "unhealthy");
  assert.equal(nextHealth(state, { ...failed, exitCode: 0 }, config, false).status, "healthy");
  assert.equal(healthCommand({ Test: ["NONE"] }), undefined);
  assert.deepEqual(healthCommand({ Test: ["CMD-SHELL", "x"] }), ["/bin/sh", "-c", "x"]);
});

test("security options", () => {
  assert.equal(securityOptions(["no-new-privileges"]).noNewPrivileges, true);
  assert.equal(securityOptions(["seccomp=unconfined"]).seccomp, undefined);
  assert.throws(() => securityOptions(["wat=1"]), /invalid --security-opt/);
  assert.throws(() => securityOptions(["seccomp={"]), /Decoding seccomp profile failed/);
});

test("networks of a new container", () => {
  assert.deepEqual(Object.keys(plannedEndpoints({}, "bridge")), ["bridge"]);
  const body = { NetworkingConfig: { EndpointsConfig: { mine: { Aliases: ["a"] }, other: {} } } };
  assert.deepEqual(plannedEndpoints(body, "mine"), { mine: { Aliases: ["a"] }, other: {} });
  assert.deepEqual(plannedEndpoints({}, "container:x"), {});
  assert.throws(() => plannedEndpoints(body, "host"), /conflicting options/);
  assert.equal(completeHostConfig({}, "crun", 1).NetworkMode, "bridge");
});

test("diff leaves out what only our mount points changed", () => {
  const changes = [
    { kind: "modified", path: "/etc" },
    { kind: "added", path: "/etc/hosts" },
    { kind: "added", path: "/tmp/x" },
    { kind: "modified", path: "/tmp" },
  ] as const;
  assert.deepEqual(
    withoutMountPoints(changes, new Set()).map((change) => change.path),
    ["/tmp/x", "/tmp"],
  );
});

test("durations in Docker's words", () => {
  const spoken = [500, 1_000, 59_000, 61_000, 3_599_000, 3_700_000, 50 * 3_600_000].map(humanDuration);
  assert.deepEqual(spoken, [
    "Less than a second",
    "1 second",
    "59 seconds",
    "About a minute",
    "59 minutes",
    "About an hour",
    "2 days",
  ]);
});

test("weights of block devices are discarded with a warning where the kernel has none", () => {
  const limits = { BlkioWeight: 300, BlkioWeightDevice: [{ Path: "/dev/null", Weight: 200 }], Memory: 1 << 30 };
  assert.deepEqual(discardUnsupported(limits, true), []);
  assert.deepEqual(ociResources(limits).blockIO, { weight: 300, weightDevice: [{ major: 1, minor: 3, weight: 200 }] });
  assert.match(
    discardUnsupported(limits, false).join(),
    /I\/O weight or .*discarded.*I\/O weight_device or .*discarded/,
  );
  assert.equal(ociResources(limits).blockIO?.weight, undefined);
  assert.equal(limits.Memory, 1 << 30);
});
