/** Logs, exec, attach, cp and port-forward with the real kubectl. */
import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { podOf, shell, startPods, type PodTests } from "../support/pods.ts";

let k: PodTests;
before(async () => {
  k = await startPods();
});
after(() => k?.berth.stop());

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

describe("streams", { concurrency: 6 }, () => {
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
