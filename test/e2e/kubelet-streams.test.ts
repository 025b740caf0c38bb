/** Logs, exec, attach, cp and port-forward with the real kubectl. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { atOnce } from "../support/patience.ts";
import { run } from "../support/daemon.ts";
import { podOf, shell, startPods, type PodTests } from "../support/pods.ts";

let k: PodTests;
before(async () => {
  k = await startPods();
});
after(() => k?.berth.stop());

/** The oldest that is at hand. */
const OLD_KUBECTL = "/usr/lib/google-cloud-sdk/bin/kubectl.1.28";
const FOREVER = "trap 'exit 0' TERM; while :; do sleep 0.1; done";

/** What a kubectl left running says, until it says `wanted`. */
async function until(child: ReturnType<PodTests["spawn"]>, wanted: RegExp): Promise<string> {
  let text = "";
  try {
    return await new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`only said: ${text}`)), 20_000);
      const look = (chunk: Buffer) => {
        text += String(chunk);
        if (!wanted.test(text)) return;
        clearTimeout(timer);
        resolve(text);
      };
      child.stdout!.on("data", look);
      child.stderr!.on("data", look);
    });
  } catch (error) {
    child.kill();
    throw error;
  }
}

describe("streams", { concurrency: atOnce(6) }, () => {
  test("logs: tail, since, limit, timestamps, previous, every container, follow", async () => {
    await k.apply(
      podOf("logged", "for n in 1 2 3 4 5; do echo line $n; done; echo oops >&2", {
        containers: [
          shell("main", "for n in 1 2 3 4 5; do echo line $n; done; echo oops >&2"),
          shell("side", "echo beside"),
        ],
      }),
      podOf(
        "again",
        "if [ -e /s/n ]; then echo second; sleep 1000; fi; touch /s/n; echo first; exit 1",
        { restartPolicy: "Always", volumes: [{ name: "s", emptyDir: {} }] },
        { volumeMounts: [{ name: "s", mountPath: "/s" }] },
      ),
      podOf("ticking", "n=0; while [ $n -lt 20 ]; do echo tick $n; n=$((n+1)); sleep 0.1; done"),
    );
    await k.finished("logged", "main");
    const logs = (...args: string[]) => k.kubectl("logs", ...args);
    assert.equal(await logs("logged", "-c", "main", "--tail=2"), "line 5\noops\n");
    assert.equal(await logs("logged", "-c", "main", "--limit-bytes=6"), "line 1");
    assert.equal(await logs("logged", "-c", "main", "--since=1h", "--tail=1"), "oops\n");
    assert.match(await logs("logged", "-c", "main", "--timestamps", "--tail=1"), /^\d{4}-\d\d-\d\dT\S+ oops\n$/);
    assert.match(await logs("logged", "--all-containers", "--prefix"), /\[pod\/logged\/side\] beside/);
    assert.match(await logs("-l", "test=logged", "--all-containers", "--tail=1"), /beside/);
    assert.equal(await logs("logged", "-c", "side", "--since-time=2020-01-01T00:00:00Z"), "beside\n");
    assert.equal(await logs("logged", "-c", "side", "--since-time=2100-01-01T00:00:00Z"), "");
    const nowhere = await k.try("logs", "logged", "-c", "absent");
    assert.equal(nowhere.code, 1);
    assert.match(nowhere.stderr, /container absent is not valid for pod logged/);
    await k.until(
      "pod",
      "again",
      (pod) => pod.status?.containerStatuses?.[0]?.restartCount === 1 && pod.status.containerStatuses[0].state.running,
    );
    assert.equal(await logs("again", "--previous"), "first\n");
    await k.until("pod", "ticking", (pod) => {
      const state = pod.status?.containerStatuses?.[0]?.state;
      return state?.running ?? state?.terminated;
    });
    const followed = await logs("ticking", "-f");
    assert.equal(followed.trim().split("\n").length, 20);
  });

  test("exec: output, errors, exit codes, stdin, a terminal", async () => {
    await k.apply(podOf("entered", FOREVER));
    await k.running("entered");
    const failed = await k.try("exec", "entered", "--", "sh", "-c", "echo out; echo err >&2; exit 42");
    assert.equal(failed.code, 42);
    assert.equal(failed.stdout, "out\n");
    assert.match(failed.stderr, /^err\n/);
    const nowhere = await k.try("exec", "entered", "-c", "absent", "--", "true");
    assert.equal(nowhere.code, 1);
    assert.match(nowhere.stderr, /container absent is not valid for pod entered/);
    const missing = await k.try("exec", "entered", "--", "no-such-program");
    assert.notEqual(missing.code, 0);
    assert.match(missing.stderr, /executable file not found in \$PATH/);
    const child = k.spawn("exec", "-i", "entered", "--", "sh", "-c", "wc -c; echo end");
    child.stdin!.end("x".repeat(200_000));
    assert.match(await until(child, /end/), /^200000\nend/);
    const terminal = k.spawn("exec", "-it", "entered", "--", "tty");
    await until(terminal, /not a tty|Unable to use a TTY|\/dev\/pts/);
  });

  test("attach reads and writes the main process", async () => {
    await k.apply(podOf("attached", "while read line; do echo got $line; done", {}, { stdin: true }));
    await k.until("pod", "attached", (pod) => pod.status?.containerStatuses?.[0]?.state.running);
    const child = k.spawn("attach", "-i", "attached");
    setTimeout(() => child.stdin!.write("hello\n"), 700);
    await until(child, /got hello/);
    child.kill();
  });

  test("cp brings folders there and back", async () => {
    await k.apply(podOf("copied", FOREVER));
    await k.running("copied");
    const folder = path.join(k.berth.directory, "copy");
    mkdirSync(path.join(folder, "in/deep"), { recursive: true });
    const content = Buffer.alloc(3_000_000, "berth");
    writeFileSync(path.join(folder, "in/deep/big"), content);
    await k.kubectl("cp", path.join(folder, "in"), "copied:/tmp/in");
    await k.kubectl("cp", "copied:/tmp/in", path.join(folder, "out"));
    assert.ok(readFileSync(path.join(folder, "out/deep/big")).equals(content));
  });

  test("port-forward carries connections, by number and by name", async () => {
    await k.apply(
      podOf(
        "served",
        "mkdir /w; echo hello from the pod > /w/index.html; httpd -f -p 8080 -h /w",
        {},
        { ports: [{ name: "web", containerPort: 8080 }] },
      ),
    );
    await k.running("served");
    const child = k.spawn("port-forward", "pod/served", ":web", "--address", "127.0.0.1");
    const port = /127\.0\.0\.1:(\d+) ->/.exec(await until(child, /Forwarding from 127/))![1];
    try {
      const answers = await Promise.all(
        Array.from({ length: 4 }, async () => {
          const answer = await fetch(`http://127.0.0.1:${port}/`);
          return answer.text();
        }),
      );
      assert.deepEqual(
        answers,
        Array.from({ length: 4 }, () => "hello from the pod\n"),
      );
    } finally {
      child.kill();
    }
  });

  test("port-forward to a Service, several ports at once", async () => {
    await k.apply(podOf("twice", "mkdir /w; echo one > /w/one; httpd -p 8081 -h /w; httpd -f -p 8082 -h /w"), {
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: "twice" },
      spec: {
        selector: { test: "twice" },
        ports: [
          { name: "a", port: 80, targetPort: 8081 },
          { name: "b", port: 81, targetPort: 8082 },
        ],
      },
    });
    await k.running("twice");
    const child = k.spawn("port-forward", "service/twice", ":80", ":81", "--address", "127.0.0.1");
    try {
      const said = await until(child, /-> 8081[^]*-> 8082|-> 8082[^]*-> 8081/);
      const ports = [...said.matchAll(/127\.0\.0\.1:(\d+) ->/g)].map(([, port]) => port);
      assert.equal(ports.length, 2);
      for (const port of ports) {
        const answer = await fetch(`http://127.0.0.1:${port}/one`);
        assert.equal(await answer.text(), "one\n");
      }
    } finally {
      child.kill();
    }
  });

  test("run -i --rm takes input, gives the exit code and leaves no Pod", async () => {
    const env = Object.fromEntries(Object.entries(k.env).filter((entry): entry is [string, string] => !!entry[1]));
    const { code, stdout } = await run(
      "kubectl",
      [
        "run",
        "passing",
        "-i",
        "--rm",
        "--restart=Never",
        "--image=busybox",
        "--",
        "sh",
        "-c",
        "read a; echo got $a; exit 3",
      ],
      { env, input: "hello\n", timeoutMs: 60_000 },
    );
    assert.match(stdout, /got hello/);
    assert.equal(code, 3);
    assert.notEqual((await k.try("get", "pod", "passing")).code, 0);
  });

  test("debug: a copy of a Pod with another command, and a Pod on the node that sees the machine", async () => {
    await k.apply(podOf("broken", "exit 9"));
    await k.finished("broken");
    await k.kubectl("debug", "broken", "--copy-to=mended", "--container=main", "--", "sh", "-c", FOREVER);
    await k.running("mended");
    assert.equal(await k.exec("mended", "echo", "inside"), "inside\n");
    const { spec } = await k.get("pod", "mended");
    const said = await k.kubectl(
      "debug",
      `node/${spec.nodeName}`,
      "--image=busybox",
      "--",
      "ls",
      "/host/etc/os-release",
    );
    const name = /Creating debugging pod (\S+) /.exec(said)![1]!;
    assert.equal(await k.finished(name), "/host/etc/os-release\n");
    await k.kubectl("delete", "pod", name, "--now");
  });

  test(
    "an old kubectl speaks its SPDY: exec, logs, cp",
    { skip: existsSync(OLD_KUBECTL) ? false : "no kubectl 1.28 here" },
    async () => {
      await k.apply(podOf("aged", FOREVER));
      await k.running("aged");
      const env = Object.fromEntries(Object.entries(k.env).filter((entry): entry is [string, string] => !!entry[1]));
      const old = (...args: string[]) => run(OLD_KUBECTL, args, { env, timeoutMs: 60_000 });
      const entered = await old("exec", "aged", "--", "sh", "-c", "echo out; echo err >&2; exit 5");
      assert.deepEqual([entered.code, entered.stdout], [5, "out\n"]);
      const file = path.join(k.berth.directory, "aged-file");
      writeFileSync(file, "carried");
      assert.equal((await old("cp", file, "aged:/tmp/file")).code, 0);
      assert.equal(await k.exec("aged", "cat", "/tmp/file"), "carried");
    },
  );

  test("top shows what the node and its Pods use", async () => {
    await k.apply(podOf("busy", FOREVER));
    await k.running("busy");
    const deadline = Date.now() + 60_000;
    for (;;) {
      const [pods, nodes] = await Promise.all([k.try("top", "pod", "busy"), k.try("top", "nodes")]);
      if (/busy\s+\d+m\s+\d+Mi/.test(pods.stdout) && /\d+%/.test(nodes.stdout)) break;
      assert.ok(Date.now() < deadline, `${pods.stdout}${pods.stderr}${nodes.stdout}${nodes.stderr}`);
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  });

  test("a log beyond 10 MiB is rotated, and read on as one", async () => {
    await k.apply(
      podOf(
        "talkative",
        `yes 0123456789012345678901234567890123456789012345678901234567890123456789 | head -n 160000; echo last; sleep 14; echo later; ${FOREVER}`,
      ),
    );
    const { metadata } = await k.running("talkative");
    const folder = path.join(k.berth.dataDir, "kubelet/pod-logs", `default_talkative_${metadata.uid}`, "main");
    const deadline = Date.now() + 30_000;
    while (readdirSync(folder).length < 2 || !(await k.kubectl("logs", "talkative", "--tail=1")).includes("later")) {
      assert.ok(Date.now() < deadline, readdirSync(folder).join(" "));
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
    const all = (await k.kubectl("logs", "talkative")).trim().split("\n");
    assert.equal(all.length, 160_002);
  });
});
