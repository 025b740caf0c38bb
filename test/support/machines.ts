/** What end-to-end tests of `berth vm` share. */
import assert from "node:assert/strict";
import http from "node:http";
import type { TestBerth } from "./daemon.ts";

/** Under emulation, on a busy machine: making an image, or booting it. */
export const LONG_MS = 400_000;

export interface MachineView {
  readonly state: string;
  readonly reason?: string;
  readonly pid?: number;
  readonly vncSocket?: string;
  readonly spec: { readonly memoryBytes: number };
  readonly addresses: ReadonlyArray<{ readonly ipv4Address: string; readonly macAddress: string }>;
  readonly ports: ReadonlyArray<{ readonly hostPort: number }>;
  readonly advice: ReadonlyArray<{ readonly kind: string; readonly message: string }>;
}

/** `berth vm …` of an instance. */
export function machinesOf(berth: TestBerth) {
  const vm = (...args: string[]) => berth.berthWith({ timeoutMs: LONG_MS }, "vm", ...args);
  /** Its output; throws unless it succeeds. */
  async function done(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await vm(...args);
    assert.equal(code, 0, `berth vm ${args.join(" ")}: ${stderr}${stdout}`);
    return stdout.trim();
  }
  const inspect = async (name: string) => (JSON.parse(await done("inspect", name)) as MachineView[])[0]!;
  return {
    vm,
    done,
    inspect,
    refused: async (expected: RegExp, ...args: string[]): Promise<void> => {
      const { code, stderr } = await vm(...args);
      assert.notEqual(code, 0);
      assert.match(stderr, expected);
    },
    /** Waits for a line on the console. */
    says: (name: string, line: string) =>
      until(`"${line}" on the console of ${name}`, async () => (await done("logs", name)).includes(line)),
    /** Waits for what a page says that a machine serves on its published port. */
    serves: async (name: string, page: string): Promise<void> => {
      const port = (await inspect(name)).ports[0]!.hostPort;
      await until(`the page of ${name}`, async () => (await ask(port)) === page);
    },
  };
}

export async function until(what: string, holds: () => Promise<boolean>, limitMs = LONG_MS): Promise<void> {
  const deadline = performance.now() + limitMs;
  while (!(await holds())) {
    assert.ok(performance.now() < deadline, `${what} did not come true`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

function ask(port: number): Promise<string> {
  return new Promise((resolve) => {
    http
      .get({ host: "127.0.0.1", port, agent: false, timeout: 5000 }, (response) => {
        let text = "";
        response.on("data", (chunk: Buffer) => (text += chunk.toString())).on("end", () => resolve(text));
      })
      .on("error", () => resolve(""))
      .on("timeout", () => resolve(""));
  });
}
