/** What a Pod's containers see, with the real kubectl: environment, volumes, identity, namespaces, names. */
import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { atOnce } from "../support/patience.ts";
import { podOf, shell, startPods, type PodTests } from "../support/pods.ts";

let k: PodTests;
before(async () => {
  k = await startPods();
});
after(() => k?.berth.stop());

const FOREVER = "trap 'exit 0' TERM; while :; do sleep 0.1; done";
const object = (kind: string, name: string, rest: object) => ({ apiVersion: "v1", kind, metadata: { name }, ...rest });

async function eventually(what: string, check: () => Promise<unknown>): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!(await check())) {
    assert.ok(Date.now() < deadline, what);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

describe("what containers see", { concurrency: atOnce(6) }, () => {
  test("environment: literals, expansion, ConfigMaps, Secrets, fields, resources, services", async () => {
    await k.apply(
      object("ConfigMap", "env-map", { data: { COLOR: "green", SIZE: "big" } }),
      object("Secret", "env-secret", { stringData: { TOKEN: "s3cret" } }),
      object("Service", "env-service", { spec: { ports: [{ port: 80 }], selector: { a: "b" } } }),
    );
    await k.apply(
      podOf(
        "env",
        "env",
        {},
        {
          resources: { requests: { cpu: "250m" }, limits: { memory: "64Mi" } },
          envFrom: [
            { prefix: "M_", configMapRef: { name: "env-map" } },
            { configMapRef: { name: "none", optional: true } },
          ],
          env: [
            { name: "A", value: "1" },
            { name: "B", value: "$(A)-$(UNKNOWN)-$$(A)" },
            { name: "TOKEN", valueFrom: { secretKeyRef: { name: "env-secret", key: "TOKEN" } } },
            { name: "COLOR", valueFrom: { configMapKeyRef: { name: "env-map", key: "COLOR" } } },
            { name: "NAME", valueFrom: { fieldRef: { fieldPath: "metadata.name" } } },
            { name: "LABEL", valueFrom: { fieldRef: { fieldPath: "metadata.labels['test']" } } },
            { name: "IP", valueFrom: { fieldRef: { fieldPath: "status.podIP" } } },
            { name: "CPU", valueFrom: { resourceFieldRef: { resource: "requests.cpu", divisor: "1m" } } },
            { name: "MEMORY", valueFrom: { resourceFieldRef: { resource: "limits.memory", divisor: "1Mi" } } },
          ],
        },
      ),
    );
    const env = new Map((await k.finished("env")).split("\n").map((line) => line.split(/=(.*)/s) as [string, string]));
    const expected = {
      M_COLOR: "green",
      M_SIZE: "big",
      B: "1-$(UNKNOWN)-$(A)",
      TOKEN: "s3cret",
      COLOR: "green",
      NAME: "env",
      LABEL: "env",
      CPU: "250",
      MEMORY: "64",
      HOSTNAME: "env",
      ENV_SERVICE_SERVICE_PORT: "80",
      KUBERNETES_SERVICE_PORT: "443",
    };
    for (const [name, value] of Object.entries(expected)) assert.equal(env.get(name), value, name);
    assert.equal(env.get("IP"), (await k.get("pod", "env")).status.podIP);
  });

  test("ConfigMap, Secret, projected and downward volumes, which follow their objects", async () => {
    await k.apply(
      object("ConfigMap", "files", { data: { "a.conf": "one", "b.conf": "bee" } }),
      object("Secret", "keys", { stringData: { key: "k1" } }),
    );
    await k.apply(
      podOf(
        "mounted",
        FOREVER,
        {
          volumes: [
            { name: "map", configMap: { name: "files", items: [{ key: "a.conf", path: "x/a", mode: 0o400 }] } },
            { name: "secret", secret: { secretName: "keys", defaultMode: 0o440 } },
            { name: "down", downwardAPI: { items: [{ path: "labels", fieldRef: { fieldPath: "metadata.labels" } }] } },
            {
              name: "all",
              projected: {
                sources: [
                  { configMap: { name: "files" } },
                  { secret: { name: "keys", items: [{ key: "key", path: "sub/key" }] } },
                  { downwardAPI: { items: [{ path: "name", fieldRef: { fieldPath: "metadata.name" } }] } },
                  { serviceAccountToken: { path: "token", audience: "vault", expirationSeconds: 600 } },
                ],
              },
            },
          ],
        },
        {
          volumeMounts: [
            { name: "map", mountPath: "/map" },
            { name: "secret", mountPath: "/secret", readOnly: true },
            { name: "down", mountPath: "/down" },
            { name: "all", mountPath: "/all" },
            { name: "map", mountPath: "/single", subPath: "x/a" },
          ],
        },
      ),
    );
    await k.running("mounted");
    const read = (file: string) => k.exec("mounted", "cat", file);
    assert.equal(await read("/map/x/a"), "one");
    assert.equal((await k.exec("mounted", "stat", "-L", "-c", "%a", "/map/x/a")).trim(), "400");
    assert.equal((await k.exec("mounted", "stat", "-L", "-c", "%a", "/secret/key")).trim(), "440");
    assert.equal(await read("/all/sub/key"), "k1");
    assert.equal(await read("/all/name"), "mounted");
    const claims = JSON.parse(Buffer.from((await read("/all/token")).split(".")[1]!, "base64url").toString());
    assert.deepEqual(claims.aud, ["vault"]);
    assert.equal(claims["kubernetes.io"].pod.name, "mounted");
    assert.match(await read("/down/labels"), /test="mounted"/);
    assert.match(await read("/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"), /BEGIN CERTIFICATE/);
    assert.equal(await read("/var/run/secrets/kubernetes.io/serviceaccount/namespace"), "default");
    assert.notEqual((await k.try("exec", "mounted", "--", "touch", "/secret/new")).code, 0);

    await k.apply(object("ConfigMap", "files", { data: { "a.conf": "two", "b.conf": "bee" } }));
    await k.kubectl("label", "pod", "mounted", "added=yes");
    await eventually("the new value", async () => (await read("/map/x/a")) === "two");
    await eventually("the new label", async () => (await read("/down/labels")).includes('added="yes"'));
    assert.equal(await read("/single"), "one", "a subPath keeps what it was mounted with");
  });

  test("emptyDir, on disk and in memory, is shared and goes with the Pod", async () => {
    const volumeMounts = [
      { name: "disk", mountPath: "/disk" },
      { name: "mem", mountPath: "/mem" },
    ];
    await k.apply(
      podOf("empty", "true", {
        volumes: [
          { name: "disk", emptyDir: {} },
          { name: "mem", emptyDir: { medium: "Memory", sizeLimit: "1Mi" } },
        ],
        containers: [
          { ...shell("a", "echo shared > /disk/f; while :; do sleep 0.1; done"), volumeMounts },
          {
            ...shell(
              "b",
              "until [ -e /disk/f ]; do sleep 0.1; done; cat /disk/f; grep ' /mem ' /proc/mounts; dd if=/dev/zero of=/mem/big bs=1k count=2048 2>&1; while :; do sleep 0.1; done",
            ),
            volumeMounts,
          },
        ],
      }),
    );
    const { metadata } = await k.running("empty");
    await eventually("b's words", async () => (await k.kubectl("logs", "empty", "-c", "b")).includes("No space"));
    assert.match(await k.kubectl("logs", "empty", "-c", "b"), /^shared\ntmpfs \/mem tmpfs/);
    await k.kubectl("delete", "pod", "empty", "--now");
    await eventually("its folder to go", async () => (await k.try("get", "pod", "empty")).code !== 0);
    assert.throws(() => readFileSync(path.join(k.berth.dataDir, "kubelet/pods", metadata.uid, "etc-hosts")), /ENOENT/);
  });

  test("hostPath types are checked", async () => {
    const folder = path.join(k.berth.directory, "host");
    mkdirSync(folder);
    writeFileSync(path.join(folder, "file"), "from the host");
    const volumeMounts = [{ name: "v", mountPath: "/v" }];
    const pod = (name: string, at: string, type: string, script: string) =>
      podOf(name, script, { volumes: [{ name: "v", hostPath: { path: at, type } }] }, { volumeMounts });
    await k.apply(
      pod("host-file", path.join(folder, "file"), "File", "cat /v"),
      pod("host-create", path.join(folder, "made"), "DirectoryOrCreate", "echo in > /v/in"),
      pod("host-wrong", path.join(folder, "file"), "Directory", "true"),
    );
    assert.equal(await k.finished("host-file"), "from the host");
    await k.finished("host-create");
    assert.equal(readFileSync(path.join(folder, "made/in"), "utf8"), "in\n");
    await eventually("FailedMount", async () =>
      (await k.events("host-wrong")).some(
        (event) =>
          event.reason === "FailedMount" && /hostPath type check failed: .* is not a directory/.test(event.message),
      ),
    );
  });

  test("subPath and subPathExpr stay inside the volume", async () => {
    const folder = path.join(k.berth.directory, "sub");
    mkdirSync(path.join(folder, "inner"), { recursive: true });
    symlinkSync("/etc", path.join(folder, "escape"));
    const pod = (name: string, mount: object, script: string) =>
      podOf(
        name,
        script,
        { volumes: [{ name: "v", hostPath: { path: folder } }] },
        {
          volumeMounts: [{ name: "v", mountPath: "/v", ...mount }],
          env: [{ name: "NAME", valueFrom: { fieldRef: { fieldPath: "metadata.name" } } }],
        },
      );
    await k.apply(
      pod("sub-plain", { subPath: "inner/new" }, "echo x > /v/file"),
      pod("sub-expr", { subPathExpr: "by/$(NAME)" }, "echo y > /v/file"),
      pod("sub-escape", { subPath: "escape" }, "cat /v/passwd"),
    );
    await Promise.all([k.finished("sub-plain"), k.finished("sub-expr")]);
    assert.equal(readFileSync(path.join(folder, "inner/new/file"), "utf8"), "x\n");
    assert.equal(readFileSync(path.join(folder, "by/sub-expr/file"), "utf8"), "y\n");
    const { status } = await k.until(
      "pod",
      "sub-escape",
      (pod) => pod.status?.containerStatuses?.[0]?.state.waiting?.reason === "CreateContainerConfigError",
    );
    assert.match(status.containerStatuses![0]!.state.waiting!.message!, /subPath|escape/);
  });

  test("an image volume holds the image's files, read-only", async () => {
    await k.apply(
      podOf(
        "image-volume",
        "ls /img/bin/busybox && ! touch /img/x 2>/dev/null && echo read-only",
        { volumes: [{ name: "img", image: { reference: "busybox", pullPolicy: "IfNotPresent" } }] },
        { volumeMounts: [{ name: "img", mountPath: "/img" }] },
      ),
    );
    assert.match(await k.finished("image-volume"), /read-only/);
  });

  test("security contexts: users, groups, capabilities, root filesystem, seccomp, privilege, sysctls", async () => {
    const security = (securityContext: object) => ({ securityContext });
    const status = "grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status | tr -s '\\t\\n' '  '";
    await k.apply(
      podOf(
        "secure",
        `id; touch /root-file 2>/dev/null || echo rofs; ${status}`,
        security({ runAsUser: 1234, runAsGroup: 2345, fsGroup: 3456, supplementalGroups: [4567] }),
        security({
          readOnlyRootFilesystem: true,
          allowPrivilegeEscalation: false,
          capabilities: { drop: ["ALL"] },
          seccompProfile: { type: "RuntimeDefault" },
        }),
      ),
      podOf("capable", status, {}, security({ capabilities: { add: ["NET_ADMIN"], drop: ["CHOWN"] } })),
      podOf(
        "privileged",
        `${status}; ls /dev; touch /proc/sys/kernel/domainname && echo writable`,
        {},
        security({ privileged: true }),
      ),
      podOf(
        "sysctl",
        "cat /proc/sys/net/ipv4/ping_group_range /proc/sys/kernel/shm_rmid_forced",
        security({
          sysctls: [
            { name: "net.ipv4.ping_group_range", value: "0 77" },
            { name: "kernel.shm_rmid_forced", value: "1" },
          ],
        }),
      ),
      podOf("masked", "cat /proc/kcore 2>/dev/null | head -c 1 | wc -c; ls /proc/scsi 2>/dev/null | wc -l"),
    );
    const secure = await k.finished("secure");
    assert.match(secure, /uid=1234.* gid=2345.* groups=.*2345.*/);
    for (const group of ["3456", "4567"]) assert.match(secure, new RegExp(group));
    assert.match(secure, /rofs\nCapEff: 0000000000000000 NoNewPrivs: 1 Seccomp: 2/);
    assert.match(await k.finished("capable"), /CapEff: 00000000a80435fa/i);
    const privileged = await k.finished("privileged");
    assert.match(privileged, /Seccomp: 0/);
    assert.match(privileged, /writable/);
    assert.ok(readdirSync("/dev").every((name) => !name.startsWith("tty") || privileged.includes(name)));
    assert.match(await k.finished("sysctl"), /^0\t77\n1$/m);
    assert.match(await k.finished("masked"), /^0\n0$/m);
  });

  test("host namespaces, a shared process namespace, and none for another's eyes", async () => {
    await k.apply(
      podOf("alone", "ps | grep -c -v grep; hostname"),
      podOf("shared", "sleep 1; ps", {
        shareProcessNamespace: true,
        containers: [shell("main", "sleep 1.2; ps"), shell("other", "exec sleep 33333")],
        restartPolicy: "Never",
      }),
      podOf("host", "hostname; ls /proc | grep -c '^[0-9]'; ip link show | grep -c lo:", {
        hostNetwork: true,
        hostPID: true,
        hostIPC: true,
      }),
    );
    assert.match(await k.finished("alone"), /\nalone\n$/);
    await eventually("ps", async () => (await k.kubectl("logs", "shared", "-c", "main")).includes("sleep 33333"));
    const host = await k.finished("host");
    assert.equal(host.split("\n")[0], readFileSync("/proc/sys/kernel/hostname", "utf8").trim());
    assert.ok(Number(host.split("\n")[1]) > 5);
    const pod = await k.get("pod", "host");
    assert.equal(pod.status.podIP, pod.status.hostIP);
  });

  test("hostUsers: false gives a Pod users of its own: root in there is nobody on the node", async () => {
    const volumes = [
      { name: "scratch", emptyDir: {} },
      { name: "settings", configMap: { name: "settings-of-users" } },
    ];
    const volumeMounts = [
      { name: "scratch", mountPath: "/scratch" },
      { name: "settings", mountPath: "/settings" },
    ];
    const script = [
      "cat /proc/self/uid_map /proc/self/gid_map",
      "touch /scratch/made /in-image && stat -c %u /scratch/made /in-image /settings/..data/key",
      "hostname",
      "ip link set lo down && echo owns its network",
      "sleep 1000",
    ].join("; ");
    // Rights over the network namespace too, since it belongs to the Pod's user namespace.
    const securityContext = { capabilities: { add: ["NET_ADMIN"] } };
    await k.apply(
      { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "settings-of-users" }, data: { key: "value" } },
      podOf("userns", script, { hostUsers: false, volumes }, { volumeMounts, securityContext }),
      podOf("userns-too", "cat /proc/self/uid_map; sleep 1000", { hostUsers: false }),
    );
    await Promise.all([k.running("userns"), k.running("userns-too")]);
    const lines = (await k.kubectl("logs", "userns"))
      .trim()
      .split("\n")
      .map((line) => line.trim().split(/ +/));
    const [uids, gids, ...rest] = lines;
    assert.equal(uids![0], "0");
    assert.ok(Number(uids![1]) >= 65_536 && uids![2] === "65536", String(uids));
    assert.deepEqual(gids, uids);
    assert.deepEqual(rest.flat(), ["0", "0", "0", "userns", ..."owns its network".split(" ")]);
    const other = (await k.kubectl("logs", "userns-too")).trim().split(/ +/);
    assert.notEqual(other[1], uids![1]);
    assert.equal(await k.exec("userns", "id", "-u"), "0\n");
    await k.kubectl("delete", "pod", "userns", "userns-too", "--grace-period=0", "--force", "--wait=true");
  });

  test("hosts file, host aliases and DNS policies", async () => {
    const script = "cat /etc/hosts; echo --; cat /etc/resolv.conf";
    await k.apply(
      podOf("names", script, {
        hostname: "custom",
        subdomain: "sub",
        hostAliases: [{ ip: "192.0.2.7", hostnames: ["alias.test", "second.test"] }],
      }),
      podOf("dns-none", script, {
        dnsPolicy: "None",
        dnsConfig: {
          nameservers: ["192.0.2.53"],
          searches: ["corp.test"],
          options: [{ name: "ndots", value: "2" }, { name: "edns0" }],
        },
      }),
      podOf("dns-default", script, { dnsPolicy: "Default" }),
    );
    const names = await k.finished("names");
    const { podIP } = (await k.get("pod", "names")).status;
    assert.match(names, /^# Kubernetes-managed hosts file\./);
    assert.ok(names.includes(`${podIP}\tcustom.sub.default.svc.cluster.local\tcustom`), names);
    assert.match(names, /192\.0\.2\.7\talias\.test\tsecond\.test/);
    assert.match(names, /search default\.svc\.cluster\.local svc\.cluster\.local cluster\.local/);
    assert.match(names, /options ndots:5/);
    assert.match(
      await k.finished("dns-none"),
      /--\nsearch corp\.test\nnameserver 192\.0\.2\.53\noptions ndots:2 edns0\n$/,
    );
    assert.doesNotMatch(await k.finished("dns-default"), /cluster\.local\n?$/m);
  });

  test("termination messages, from the file or the log", async () => {
    await k.apply(
      podOf("last-words", "echo bye > /dev/termination-log; exit 1"),
      podOf("last-log", "echo the log says so; exit 1", {}, { terminationMessagePolicy: "FallbackToLogsOnError" }),
    );
    const message = async (name: string) =>
      (await k.until("pod", name, (pod) => pod.status?.phase === "Failed")).status.containerStatuses![0]!.state
        .terminated!.message;
    assert.equal(await message("last-words"), "bye\n");
    assert.equal(await message("last-log"), "the log says so\n");
  });

  test("a RuntimeClass chooses the OCI runtime; an unknown handler is said", async () => {
    await k.apply(
      { apiVersion: "node.k8s.io/v1", kind: "RuntimeClass", metadata: { name: "other" }, handler: "runc" },
      { apiVersion: "node.k8s.io/v1", kind: "RuntimeClass", metadata: { name: "nothing" }, handler: "gvisor" },
    );
    await k.apply(
      podOf("runc", "echo by runc", { runtimeClassName: "other" }),
      podOf("gvisor", "true", { runtimeClassName: "nothing" }),
    );
    assert.equal(await k.finished("runc"), "by runc\n");
    await eventually("the reason", async () =>
      (await k.events("gvisor")).some(
        (event) =>
          event.reason === "FailedCreatePodSandBox" && /no runtime for "gvisor" is configured/.test(event.message),
      ),
    );
  });
});
