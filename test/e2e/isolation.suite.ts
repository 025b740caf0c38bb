/**
 * What a container does, whatever keeps it apart: run for `process` and for `vm`, by the real docker. One container stands for most of it, since a
 * machine takes seconds to boot under emulation.
 */
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import http from "node:http";
import path from "node:path";
import { after, before, suite, test } from "node:test";
import Docker from "dockerode";
import type { TestBerth } from "../support/daemon.ts";

export const BOOT_MS = 90_000;
const SCRIPT =
  "trap 'echo asked; exit 9' TERM; trap 'echo usr1' USR1; echo started; echo problem >&2; " +
  "httpd -p 80 -h /page; while :; do sleep 0.2; done";

export function isolationSuite(mode: "process" | "vm", instance: () => TestBerth): void {
  void suite(mode, () => behaviours(mode, instance));
}

function behaviours(mode: "process" | "vm", instance: () => TestBerth): void {
  const name = `main-${mode}`;
  const peer = `peer-${mode}`;
  const network = `names-${mode}`;
  const runtime = mode === "vm" ? ["--runtime", "vm"] : [];
  const docker = (...args: string[]) => instance().dockerWith({ timeoutMs: BOOT_MS }, ...args);
  const must = async (...args: string[]) => {
    const { code, stdout, stderr } = await docker(...args);
    assert.equal(code, 0, `docker ${args.join(" ")}: ${stderr}`);
    return stdout;
  };
  const client = () => new Docker({ socketPath: instance().dockerSocket }).getContainer(name);
  const check = (title: string, run: () => Promise<void>) => void test(title, { timeout: BOOT_MS }, run);
  let port = 0;

  before(async () => {
    const folder = path.join(instance().directory, `page-${mode}`);
    mkdirSync(folder);
    writeFileSync(path.join(folder, "index.html"), "from the host\n");
    await must("network", "create", network);
    await must("run", "-d", "--name", peer, "--network", network, "busybox", "sleep", "1000");
    const limits = ["--memory", "64m", "--cpus", "1", "--pids-limit", "77"];
    const health = ["--health-cmd", "test -f /tmp/healthy", "--health-interval", "200ms", "--health-timeout", "20s"];
    const where = ["--network", network, "-p", "127.0.0.1:0:80", "--hostname", "inside"];
    const mounts = ["-v", `${folder}:/page`, "-v", `data-${mode}:/data`, "--tmpfs", "/scratch"];
    const all = [...runtime, ...limits, ...health, ...where, ...mounts, "-i", "-e", "COLOUR=green", "--init=false"];
    await must("run", "-d", "--name", name, ...all, "busybox", "sh", "-c", SCRIPT);
    port = Number((await must("port", name, "80")).trim().split(":").at(-1));
  });
  after(async () => {
    await docker("rm", "-f", "-v", name, peer);
    await docker("network", "rm", network);
    await docker("volume", "rm", `data-${mode}`);
  });

  check(`environment, folder, user, both outputs and exit code; programs that are not there`, async () => {
    const script = "echo $COLOUR; pwd; id -u; echo problem >&2; exit 7";
    const options = ["-e", "COLOUR=green", "-w", "/tmp", "-u", "1000"];
    const ran = await docker("run", "--rm", ...runtime, ...options, "busybox", "sh", "-c", script);
    assert.equal(ran.code, 7, ran.stderr);
    assert.deepEqual(ran.stdout.trim().split("\n"), ["green", "/tmp", "1000"]);
    assert.equal(ran.stderr.trim(), "problem");
    assert.equal((await docker("run", "--rm", ...runtime, "busybox", "no-such-program")).code, 127);
    assert.equal((await docker("run", "--rm", ...runtime, "busybox", "/etc/passwd")).code, 126);
  });

  check(`logs of both outputs, hostname, and a health check that turns healthy`, async () => {
    await eventually(async () => {
      const { stdout, stderr } = await docker("logs", name);
      assert.equal(stdout, "started\n");
      assert.equal(stderr, "problem\n");
    });
    assert.equal((await must("exec", name, "hostname")).trim(), "inside");
    await must("exec", name, "touch", "/tmp/healthy");
    await eventually(async () =>
      assert.equal((await must("inspect", "-f", "{{.State.Health.Status}}", name)).trim(), "healthy"),
    );
  });

  check(`exec with environment, user, standard input and exit code`, async () => {
    assert.equal((await docker("exec", name, "sh", "-c", "exit 3")).code, 3);
    assert.equal(
      (await must("exec", "-e", "A=b", "-u", "12:13", name, "sh", "-c", "echo $A $(id -u) $(id -g)")).trim(),
      "b 12 13",
    );
    const input = instance().dockerWith({ input: "line\n", timeoutMs: BOOT_MS }, "exec", "-i", name, "cat");
    assert.equal((await input).stdout, "line\n");
    assert.equal((await docker("exec", name, "no-such-program")).code, 127);
  });

  check(`detach keys leave the process of a terminal running`, async () => {
    const exec = await client().exec({
      Cmd: ["sleep", "1000"],
      Tty: true,
      AttachStdin: true,
      AttachStdout: true,
      DetachKeys: "ctrl-x",
    });
    const stream = await exec.start({ hijack: true, stdin: true, Tty: true });
    const ended = new Promise((resolve) => stream.once("end", resolve).resume());
    stream.write("\x18");
    await ended;
    assert.equal((await exec.inspect()).Running, true);
  });

  check(`exec with a terminal that is resized`, async () => {
    const exec = await client().exec({ Cmd: ["sh"], Tty: true, AttachStdin: true, AttachStdout: true });
    const stream = await exec.start({ hijack: true, stdin: true, Tty: true });
    let text = "";
    stream.on("data", (chunk: Buffer) => (text += chunk.toString()));
    const ended = new Promise((resolve) => stream.once("end", resolve));
    await eventually(async () => assert.match(text, /# /));
    await exec.resize({ h: 41, w: 123 });
    stream.write("until [ \"$(stty size)\" = '41 123' ]; do sleep 0.1; done; tty; exit 4\n");
    await ended;
    assert.match(text, /\/dev\/pts\/\d/);
    assert.equal((await exec.inspect()).ExitCode, 4);
  });

  check(`attach shows what comes, and leaves the container running`, async () => {
    const options = { stream: true, stdin: true, stdout: true, stderr: true, hijack: true };
    const stream = await client().attach(options);
    let text = "";
    stream.on("data", (chunk: Buffer) => (text += chunk.toString()));
    await must("kill", "-s", "USR1", name);
    await eventually(async () => assert.match(text, /usr1/));
    stream.end();
    assert.equal((await must("inspect", "-f", "{{.State.Running}}", name)).trim(), "true");
  });

  check(`copies in and out while it runs, volumes included`, async () => {
    const file = path.join(instance().directory, `file-${mode}`);
    writeFileSync(file, "copied\n");
    await must("cp", file, `${name}:/tmp/there`);
    await must("cp", file, `${name}:/data/there`);
    await eventually(async () =>
      assert.equal(await must("exec", name, "cat", "/tmp/there", "/data/there"), "copied\ncopied\n"),
    );
    await must("exec", name, "sh", "-c", "echo inner >/data/back");
    await must("cp", `${name}:/data/back`, `${file}-back`);
    assert.equal(readFileSync(`${file}-back`, "utf8"), "inner\n");
    await must("exec", name, "sh", "-c", "test -w /scratch && touch /page/by-the-container");
    readFileSync(path.join(instance().directory, `page-${mode}`, "by-the-container"));
  });

  check(`processes, counters and limits`, async () => {
    const top = await must("top", name);
    assert.match(top, /^UID +PID +PPID +C +STIME +TTY +TIME +CMD/);
    assert.match(top, /httpd -p 80/);
    const stats = await must("stats", "--no-stream", "--format", "{{.MemUsage}}", name);
    assert.match(stats, /64MiB/);
    await must("update", "--memory", "72m", "--memory-swap", "72m", name);
    await eventually(async () =>
      assert.match(await must("stats", "--no-stream", "--format", "{{.MemUsage}}", name), /72MiB/),
    );
  });

  check(`names on a network of the user's, both ways, and a published port`, async () => {
    assert.match(await must("exec", name, "nslookup", peer), /Address:?.* \d+\.\d+\.\d+\.\d+/);
    assert.match(await must("exec", peer, "wget", "-qO-", `http://${name}/`), /from the host/);
    await must("exec", name, "ping", "-c", "1", "-W", "10", peer);
    await eventually(async () => assert.equal(await ask(port), "from the host\n"));
  });

  check(`paused and resumed; asked to stop, it says so and chooses its exit code`, async () => {
    await must("pause", name);
    assert.equal((await must("inspect", "-f", "{{.State.Status}}", name)).trim(), "paused");
    await must("unpause", name);
    await must("stop", "-t", "60", name);
    assert.equal((await must("inspect", "-f", "{{.State.ExitCode}}", name)).trim(), "9");
    assert.match((await docker("logs", name)).stdout, /asked\n$/);
  });
}

export function ask(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    http
      .get({ host: "127.0.0.1", port, agent: false, timeout: 5000 }, (response) => {
        let text = "";
        response.on("data", (chunk: Buffer) => (text += chunk.toString())).on("end", () => resolve(text));
      })
      .on("error", reject);
  });
}

/** Tries again for a while. */
export async function eventually(check: () => Promise<void>): Promise<void> {
  const deadline = Date.now() + 30_000;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}
