/**
 * Upstream's many tests of one thing: what a volume holds, with which modes, for whom. Each row of the tables is one of them; a Pod takes all
 * rows of one user, a mount for each.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { podOf, shell, startPods, type PodTests } from "../../support/pods.ts";
import { Api, eventually, MERGE } from "./client.ts";

type Source = Record<string, unknown>;

interface Row {
  readonly name: string;
  readonly volume: Source;
  /** Run in the mount. */
  readonly script: string;
  readonly expected: string;
  readonly subPath?: string;
  /** Mounted as `file` in the folder of the row, in place of the folder. */
  readonly isFile?: boolean;
}

let k: PodTests;
let api: Api;
before(async () => {
  k = await startPods();
  api = new Api(k.env["KUBECONFIG"]!);
  const elsewhere = { metadata: { name: "elsewhere" } };
  await api.ok("POST", "/api/v1/namespaces", { body: { apiVersion: "v1", kind: "Namespace", ...elsewhere } });
  await k.apply(
    {
      ...object("ConfigMap", "map"),
      data: { "data-1": "value-1", "data-2": "value-2", "data-3": "value-3" },
      binaryData: { "dump.bin": Buffer.from([0xde, 0xca, 0xfe, 0xba]).toString("base64") },
    },
    { ...object("Secret", "keys"), stringData: { "data-1": "value-1", "data-2": "value-2" } },
    { ...object("Secret", "keys", "elsewhere"), stringData: { "data-1": "not this one" } },
    { ...object("ConfigMap", "live"), data: { kept: "old", gone: "soon" } },
    { ...object("Secret", "live"), stringData: { kept: "old", gone: "soon" } },
    { ...object("ConfigMap", "doomed"), data: { key: "here" } },
    { ...object("Secret", "doomed"), stringData: { key: "here" } },
  );
});
after(async () => {
  api?.close();
  await k?.berth.stop();
});

const object = (kind: string, name: string, namespace = "default") => ({
  apiVersion: "v1",
  kind,
  metadata: { name, namespace },
});
const FOREVER = "trap 'exit 0' TERM; while :; do sleep 0.1; done";
const MODE = (file: string) => `stat -L -c %A ${file}`;

/** A source as a volume of its own, and as the only source of a projected one. */
function both(name: string, source: Source, rest: Pick<Row, "script" | "expected" | "subPath" | "isFile">): Row[] {
  const [[kind, { defaultMode, secretName, ...of }] = ["", {} as Source]] = Object.entries(source) as [
    string,
    Source,
  ][];
  const projection = { [kind]: { ...of, ...(secretName === undefined ? {} : { name: secretName }) } };
  return [
    { name, volume: source, ...rest },
    { name: `projected ${name}`, volume: { projected: { defaultMode, sources: [projection] } }, ...rest },
  ];
}

const field = (path: string, fieldPath: string, mode?: number) => ({ path, fieldRef: { fieldPath }, mode });
const resource = (path: string, of: string) => ({
  path,
  resourceFieldRef: { containerName: "main", resource: of },
});
const mapped = [{ key: "data-2", path: "path/to/data-2" }];

/** `emptyDir`: what upstream's mounttest does for each mode and medium. */
const emptyDirs = ["default", "tmpfs"].flatMap((medium) => {
  const volume = { emptyDir: medium === "tmpfs" ? { medium: "Memory" } : {} };
  const modes = ["0644", "0666", "0777"].map((mode) => ({
    name: `emptyDir ${mode} on ${medium}`,
    volume,
    script: `umask 0; echo content > new; chmod ${mode} new; ${MODE("new")}; cat new; grep -c " $PWD tmpfs " /proc/mounts`,
    expected: `${{ "0644": "-rw-r--r--", "0666": "-rw-rw-rw-", "0777": "-rwxrwxrwx" }[mode]}\ncontent\n${medium === "tmpfs" ? 1 : 0}`,
  }));
  return [...modes, { name: `emptyDir on ${medium}: its mode`, volume, script: MODE("."), expected: "drwxrwxrwx" }];
});

const asRoot: Row[] = [
  ...emptyDirs,
  ...both("configMap", { configMap: { name: "map" } }, { script: "cat data-1", expected: "value-1" }),
  ...both(
    "configMap with defaultMode",
    { configMap: { name: "map", defaultMode: 0o400 } },
    { script: `${MODE("data-1")}; cat data-1`, expected: "-r--------\nvalue-1" },
  ),
  ...both(
    "configMap with mappings",
    { configMap: { name: "map", items: mapped } },
    { script: "cat path/to/data-2; ls", expected: "value-2path" },
  ),
  ...both(
    "configMap with mappings and a mode",
    { configMap: { name: "map", items: [{ ...mapped[0], mode: 0o400 }] } },
    { script: MODE("path/to/data-2"), expected: "-r--------" },
  ),
  ...both(
    "configMap with binary data",
    { configMap: { name: "map" } },
    { script: "hexdump -ve '1/1 \"%02x\"' dump.bin", expected: "decafeba" },
  ),
  ...both("secret", { secret: { secretName: "keys" } }, { script: "cat data-1", expected: "value-1" }),
  ...both(
    "secret with defaultMode",
    { secret: { secretName: "keys", defaultMode: 0o400 } },
    { script: MODE("data-1"), expected: "-r--------" },
  ),
  ...both(
    "secret with mappings",
    { secret: { secretName: "keys", items: mapped } },
    { script: "cat path/to/data-2", expected: "value-2" },
  ),
  ...both(
    "secret with mappings and a mode",
    { secret: { secretName: "keys", items: [{ ...mapped[0], mode: 0o400 }] } },
    { script: MODE("path/to/data-2"), expected: "-r--------" },
  ),
  ...both(
    "secret whose name another namespace has too",
    { secret: { secretName: "keys" } },
    { script: "cat data-*", expected: "value-1value-2" },
  ),
  ...both(
    "downwardAPI: the Pod's name",
    { downwardAPI: { items: [field("podname", "metadata.name")] } },
    { script: "cat podname", expected: "root" },
  ),
  ...both(
    "downwardAPI with defaultMode",
    { downwardAPI: { defaultMode: 0o400, items: [field("podname", "metadata.name")] } },
    { script: MODE("podname"), expected: "-r--------" },
  ),
  ...both(
    "downwardAPI with a mode",
    { downwardAPI: { items: [field("podname", "metadata.name", 0o400)] } },
    { script: MODE("podname"), expected: "-r--------" },
  ),
  ...[
    ["limits.cpu", "2"],
    ["limits.memory", "67108864"],
    ["requests.cpu", "1"],
    ["requests.memory", "33554432"],
  ].flatMap(([of = "", expected = ""]) =>
    both(`downwardAPI: ${of}`, { downwardAPI: { items: [resource("it", of)] } }, { script: "cat it", expected }),
  ),
  {
    name: "projected: everything at once",
    volume: {
      projected: {
        sources: [
          { secret: { name: "keys", items: [{ key: "data-1", path: "secret-data" }] } },
          { configMap: { name: "map", items: [{ key: "data-2", path: "configmap-data" }] } },
          { downwardAPI: { items: [field("podname", "metadata.name")] } },
        ],
      },
    },
    script: "cat secret-data configmap-data podname",
    expected: "value-1value-2root",
  },
  ...both(
    "configMap by a path of it",
    { configMap: { name: "map" } },
    { script: "cat file", subPath: "data-1", isFile: true, expected: "value-1" },
  ),
  ...both(
    "secret by a path of it",
    { secret: { secretName: "keys" } },
    { script: "cat file", subPath: "data-1", isFile: true, expected: "value-1" },
  ),
  ...both(
    "downwardAPI by a path of it",
    { downwardAPI: { items: [field("downward/podname", "metadata.name")] } },
    { script: "cat podname", subPath: "downward", expected: "root" },
  ),
];

const asUser: Row[] = [
  ...emptyDirs,
  ...both("configMap, not as root", { configMap: { name: "map" } }, { script: "cat data-1", expected: "value-1" }),
  ...both(
    "configMap with mappings, not as root",
    { configMap: { name: "map", items: mapped } },
    { script: "cat path/to/data-2", expected: "value-2" },
  ),
];

const asGroup: Row[] = [
  ...both(
    "secret with defaultMode and fsGroup, not as root",
    { secret: { secretName: "keys", defaultMode: 0o440 } },
    { script: `${MODE("data-1")}; stat -L -c %g data-1; cat data-1`, expected: "-r--r-----\n1001\nvalue-1" },
  ),
  ...both(
    "configMap with fsGroup",
    { configMap: { name: "map", defaultMode: 0o440 } },
    { script: "stat -L -c %g data-1; cat data-1", expected: "1001\nvalue-1" },
  ),
  ...both(
    "downwardAPI with fsGroup",
    { downwardAPI: { items: [field("podname", "metadata.name", 0o440)] } },
    { script: "stat -L -c %g podname; cat podname", expected: "1001\ngroup" },
  ),
];

/** One Pod with a mount for each row, and a subtest for each. */
function rowsAs(pod: string, rows: readonly Row[], security: object, container: object = {}): void {
  describe(`as ${pod}`, () => {
    const said = new Map<string, string>();
    before(async () => {
      const steps = rows.map(({ script }, at) => `printf '\\n## ${at}\\n'; (cd /v/${at}; ${script}) 2>&1`);
      const volumeMounts = rows.map(({ subPath, isFile }, at) => ({
        name: `v${at}`,
        mountPath: isFile ? `/v/${at}/file` : `/v/${at}`,
        subPath,
      }));
      const volumes = rows.map(({ volume }, at) => ({ name: `v${at}`, ...volume }));
      await k.apply(
        podOf(pod, steps.join("\n"), { volumes, securityContext: security }, { volumeMounts, ...container }),
      );
      const log = await k.finished(pod);
      for (const part of log.split("\n## ").slice(1)) {
        const [at = "", ...lines] = part.split("\n");
        said.set(at, lines.join("\n").trim());
      }
    });
    for (const [at, { name, expected }] of rows.entries())
      test(name, () => assert.equal(said.get(String(at)), expected));
  });
}

describe("volumes", { concurrency: 6 }, () => {
  const resources = { requests: { cpu: "250m", memory: "32Mi" }, limits: { cpu: "1250m", memory: "64Mi" } };
  rowsAs("root", asRoot, {}, { resources });
  rowsAs("user", asUser, { runAsUser: 1001 });
  rowsAs("group", asGroup, { runAsUser: 1001, fsGroup: 1001 });

  test("limits of who has none are the node's", async () => {
    const [node] = (await api.ok("GET", "/api/v1/nodes")).items;
    const volume = {
      name: "d",
      downwardAPI: { items: [resource("cpu", "limits.cpu"), resource("mem", "limits.memory")] },
    };
    await k.apply(
      podOf(
        "boundless",
        "cat /d/cpu; echo; cat /d/mem",
        { volumes: [volume] },
        { volumeMounts: [{ name: "d", mountPath: "/d" }] },
      ),
    );
    const [cpu, memory] = (await k.finished("boundless")).trim().split("\n");
    assert.equal(cpu, node.status.allocatable.cpu);
    assert.equal(memory, String(Number(node.status.allocatable.memory.replace("Ki", "")) * 1024));
  });

  test("containers of a Pod share a volume", async () => {
    const volumeMounts = [{ name: "shared", mountPath: "/shared" }];
    const containers = [
      { ...shell("writer", "echo Hello from the busy-box sub-container > /shared/f"), volumeMounts },
      { ...shell("reader", "until [ -s /shared/f ]; do sleep 0.1; done; cat /shared/f"), volumeMounts },
    ];
    await k.apply(podOf("sharing", "true", { containers, volumes: [{ name: "shared", emptyDir: {} }] }));
    assert.equal(await k.finished("sharing", "reader"), "Hello from the busy-box sub-container\n");
  });

  test("fifty volumes of fifty ConfigMaps do not get into each other's way", async () => {
    const names = Array.from({ length: 50 }, (_, index) => `many-${index}`);
    await k.apply(...names.map((name) => ({ ...object("ConfigMap", name), data: { is: name } })));
    const volumes = names.map((name) => ({ name, configMap: { name, items: [{ key: "is", path: "is" }] } }));
    const volumeMounts = names.map((name) => ({ name, mountPath: `/m/${name}` }));
    await k.apply(podOf("many", "for d in /m/*; do cat $d/is; echo; done | sort", { volumes }, { volumeMounts }));
    assert.deepEqual((await k.finished("many")).trim().split("\n"), names.toSorted());
  });

  test("changes, deletions and creations of what is optional are seen", async () => {
    const kinds = [
      { volume: "configMap", key: "name", path: "configmaps" },
      { volume: "secret", key: "secretName", path: "secrets" },
    ];
    const rows: Array<{ at: string; source: Source }> = kinds.flatMap(({ volume, key }) =>
      ["live", "doomed", "later"].flatMap((name) => [
        { at: `/${volume}-${name}`, source: { [volume]: { [key]: name, optional: true } } },
        {
          at: `/projected-${volume}-${name}`,
          source: { projected: { sources: [{ [volume]: { name, optional: true } }] } },
        },
      ]),
    );
    const labels = [field("labels", "metadata.labels"), field("annotations", "metadata.annotations")];
    rows.push({ at: "/down", source: { downwardAPI: { items: labels } } });
    rows.push({ at: "/projected-down", source: { projected: { sources: [{ downwardAPI: { items: labels } }] } } });
    const volumes = rows.map(({ source }, at) => ({ name: `v${at}`, ...source }));
    const volumeMounts = rows.map(({ at: mountPath }, at) => ({ name: `v${at}`, mountPath }));
    await k.apply(podOf("seeing", FOREVER, { volumes }, { volumeMounts }));
    await k.running("seeing");
    const at = "/api/v1/namespaces/default";
    for (const { path, volume } of kinds) {
      const text = (value: string) => (volume === "secret" ? Buffer.from(value).toString("base64") : value);
      await api.ok("PATCH", `${at}/${path}/live`, {
        body: { data: { kept: text("new"), gone: null, added: text("plus") } },
        headers: { "content-type": MERGE },
      });
      await api.ok("DELETE", `${at}/${path}/doomed`);
      await api.ok("POST", `${at}/${path}`, { body: { metadata: { name: "later" }, data: { key: text("now") } } });
    }
    await k.kubectl("label", "pod", "seeing", "builder=foo");
    await k.kubectl("annotate", "pod", "seeing", "builder=bar");
    const seen = (prefix: string) => [
      ...kinds.flatMap(({ volume }) => [
        `${prefix}${volume}-later/key:now`,
        `${prefix}${volume}-live/added:plus`,
        `${prefix}${volume}-live/kept:new`,
      ]),
      `${prefix}down/annotations:`,
      `${prefix}down/labels:builder="foo"`,
    ];
    const wanted = [...seen("/"), ...seen("/projected-")].toSorted();
    const script =
      "for f in /*configMap-*/* /*secret-*/*; do [ -f $f ] && echo $f:$(cat $f); done; " +
      "for f in /*down/labels; do echo $f:$(grep builder $f); done; " +
      "for f in /*down/annotations; do grep -q 'builder=\"bar\"' $f && echo $f:; done";
    let found: string[] = [];
    await eventually("all changes in the files", async () => {
      found = (await k.exec("seeing", "sh", "-c", `${script}; true`)).trim().split("\n").toSorted();
      return JSON.stringify(found) === JSON.stringify(wanted);
    }).catch(() => assert.deepEqual(found, wanted));
  });
});
